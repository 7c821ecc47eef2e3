// x <- D + sigma n with counter-based noise, and the integers behind it.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <vector>

#include "common/check.h"
#include "common/philox.h"
#include "cpu/clones.h"
#include "cpu/image.h"
#include "cpu/math.h"
#include "cpu/parallel.h"

namespace vml_fast::cpu {

// Standard normals of `blocks` consecutive blocks, four each.
VML_CLONES void normal_blocks(float* VML_RESTRICT noise, uint32_t first, int64_t blocks,
                              PhiloxKey key) {
  for (int64_t i = 0; i < blocks; ++i) {
    uint32_t words[4];
    philox(first + static_cast<uint32_t>(i), key, words);
    const float radius0 =
        std::sqrt(-2.0f * log_positive(static_cast<float>((words[0] >> 8) + 1) * 0x1p-24f));
    const float radius1 =
        std::sqrt(-2.0f * log_positive(static_cast<float>((words[2] >> 8) + 1) * 0x1p-24f));
    const SineCosine turn0 = turn(words[1] >> 8);
    const SineCosine turn1 = turn(words[3] >> 8);
    noise[4 * i] = radius0 * turn0.cosine;
    noise[4 * i + 1] = radius0 * turn0.sine;
    noise[4 * i + 2] = radius1 * turn1.cosine;
    noise[4 * i + 3] = radius1 * turn1.sine;
  }
}

VML_CLONES void transition_run(float* VML_RESTRICT out, const float* VML_RESTRICT denoised,
                               const float* VML_RESTRICT noise, int64_t n, float sigma) {
  for (int64_t i = 0; i < n; ++i) out[i] = denoised[i] + sigma * noise[i];
}

namespace {

class Counters {
 public:
  Counters(const Tensor& seed, const Tensor& sample, const Tensor& draw)
      : seed_(static_cast<const int64_t*>(seed.data_ptr())),
        sample_(static_cast<const int64_t*>(sample.data_ptr())),
        seed_stride_(seed.size(0) == 1 ? 0 : seed.stride(0)),
        sample_stride_(sample.size(0) == 1 ? 0 : sample.stride(0)),
        draw_(*static_cast<const int64_t*>(draw.data_ptr())) {}

  PhiloxKey key(int64_t b) const {
    return philox_key(seed_[b * seed_stride_], sample_[b * sample_stride_], draw_);
  }

 private:
  const int64_t* seed_;
  const int64_t* sample_;
  int64_t seed_stride_, sample_stride_, draw_;
};

}  // namespace

Tensor transition(const Tensor& denoised, const Tensor& sigma, const Tensor& seed,
                  const Tensor& sample, const Tensor& draw) {
  check_transition(denoised, sigma, seed, sample, draw);
  Tensor out = torch::stable::empty_like(denoised);
  const Tensor levels = torch::stable::contiguous(sigma);
  const float* level = static_cast<const float*>(levels.data_ptr());
  const Counters counters(seed, sample, draw);
  const Tiling tiling(denoised, {{denoised, Access::kRead}, {out, Access::kWrite}}, false);
  tiling.for_each([&](const Stretch& s) {
    thread_local std::vector<float> noise;
    noise.resize(s.n() + 8);
    for (int64_t k = 0; k < s.channels(); ++k) {
      const int64_t first = tiling.logical_index(s.run(), k);
      const int64_t blocks = (first + s.n() + 3) / 4 - first / 4;
      normal_blocks(noise.data(), static_cast<uint32_t>(first / 4), blocks,
                    counters.key(s.run().b));
      transition_run(s.write(1, k), s.read(0, k), noise.data() + first % 4, s.n(),
                     level[s.run().b]);
    }
  });
  return out;
}

Tensor philox_words(int64_t elements, const Tensor& seed, const Tensor& sample,
                    const Tensor& draw) {
  check_counters(seed, sample, draw);
  STD_TORCH_CHECK(elements >= 1, "elements must be at least 1, got ", elements);
  const int64_t blocks = (elements + 3) / 4;
  Tensor out = torch::stable::new_empty(seed, {seed.size(0), blocks, 4});
  int64_t* const words = static_cast<int64_t*>(out.data_ptr());
  const Counters counters(seed, sample, draw);
  share_tiles(seed.size(0), elements, [&](int64_t b) {
    const PhiloxKey key = counters.key(b);
    for (int64_t i = 0; i < blocks; ++i) {
      uint32_t block[4];
      philox(static_cast<uint32_t>(i), key, block);
      for (int k = 0; k < 4; ++k) words[(b * blocks + i) * 4 + k] = block[k];
    }
  });
  return out;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("transition", TORCH_BOX(&vml_fast::cpu::transition));
  m.impl("philox_words", TORCH_BOX(&vml_fast::cpu::philox_words));
}
