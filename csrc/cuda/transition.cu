// x <- D + sigma n with counter-based noise, and the integers behind it. One thread per block of
// four numbers.
#include <torch/csrc/stable/library.h>

#include "common/philox.h"
#include "cuda/image.cuh"

namespace vml_fast::cuda {

namespace {

struct Counters {
  const int64_t* seed;
  const int64_t* sample;
  const int64_t* draw;
  int64_t seed_stride, sample_stride;

  Counters(const Tensor& seed_, const Tensor& sample_, const Tensor& draw_)
      : seed(static_cast<const int64_t*>(seed_.data_ptr())),
        sample(static_cast<const int64_t*>(sample_.data_ptr())),
        draw(static_cast<const int64_t*>(draw_.data_ptr())),
        seed_stride(seed_.size(0) == 1 ? 0 : seed_.stride(0)),
        sample_stride(sample_.size(0) == 1 ? 0 : sample_.stride(0)) {}

  __device__ void words(int64_t b, int64_t block, uint32_t out[4]) const {
    const PhiloxKey key = philox_key(seed[b * seed_stride], sample[b * sample_stride], *draw);
    philox(static_cast<uint32_t>(block), key, out);
  }
};

// Box-Muller on the upper 24 bits of two words.
__device__ inline void box_muller(uint32_t first, uint32_t second, float out[2]) {
  const float radius = sqrtf(-2.0f * logf(static_cast<float>((first >> 8) + 1) * 0x1p-24f));
  const float angle = static_cast<float>(second >> 8) * 3.74507028e-7f;  // 2 pi / 2^24
  out[0] = radius * cosf(angle);
  out[1] = radius * sinf(angle);
}

__global__ void transition_kernel(Extent e, Image<const float> denoised, Image<float> out,
                                  const float* sigma, int64_t sigma_stride, Counters counters) {
  const uint32_t b = sample_index(), block = item_index();
  if (block >= (e.sample() + 3) / 4) return;
  uint32_t words[4];
  counters.words(b, block, words);
  float noise[4];
  box_muller(words[0], words[1], noise);
  box_muller(words[2], words[3], noise + 2);
  const float level = sigma[b * sigma_stride];
  for (uint32_t i = 0; i < 4 && 4 * block + i < e.sample(); ++i) {
    const Place p = place_of(b, 4 * block + i, e);
    out.at(p) = denoised.at(p) + level * noise[i];
  }
}

__global__ void words_kernel(uint32_t blocks, int64_t* out, Counters counters) {
  if (item_index() >= blocks) return;
  uint32_t words[4];
  counters.words(sample_index(), item_index(), words);
  int64_t* const to = out + 4 * (int64_t{sample_index()} * blocks + item_index());
  for (int i = 0; i < 4; ++i) to[i] = words[i];
}

}  // namespace

Tensor transition(const Tensor& denoised, const Tensor& sigma, const Tensor& seed,
                  const Tensor& sample, const Tensor& draw) {
  check_transition(denoised, sigma, seed, sample, draw);
  Tensor out = torch::stable::empty_like(denoised);
  Extent e(denoised);
  e.interleaved = false;  // the noise is counted in C, H, W order
  launch_items(denoised, e.samples, (int64_t{e.sample()} + 3) / 4, &transition_kernel, e,
               Image<const float>(denoised), Image<float>(out),
               static_cast<const float*>(sigma.data_ptr()), sigma.stride(0),
               Counters(seed, sample, draw));
  return out;
}

Tensor philox_words(int64_t elements, const Tensor& seed, const Tensor& sample,
                    const Tensor& draw) {
  check_counters(seed, sample, draw);
  STD_TORCH_CHECK(elements >= 1, "elements must be at least 1, got ", elements);
  const int64_t blocks = (elements + 3) / 4;
  Tensor out = torch::stable::new_empty(seed, {seed.size(0), blocks, 4});
  launch_items(seed, seed.size(0), blocks, &words_kernel, static_cast<uint32_t>(blocks),
               static_cast<int64_t*>(out.data_ptr()), Counters(seed, sample, draw));
  return out;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("transition", TORCH_BOX(&vml_fast::cuda::transition));
  m.impl("philox_words", TORCH_BOX(&vml_fast::cuda::philox_words));
}
