// x <- D + sigma n with counter-based noise, and the integers behind it.
#include "common/philox.h"
#include "cuda/image.cuh"
#include "cuda/kernels.h"

namespace vml_fast::cuda {

namespace {

// `logical` has no data: its offsets are the indices in C, H, W order by which noise is counted.
struct Operands {
  View denoised, out, logical;
  Table sigma;
  Counters counters;
};

__device__ __forceinline__ PhiloxKey key_of(const Counters& counters, int64_t b) {
  return philox_key(counters.seed[b * counters.seed_stride],
                    counters.sample[b * counters.sample_stride], *counters.draw);
}

// Two standard normals from the upper 24 bits of two words; the angle is second / 2^23 times pi.
__device__ __forceinline__ void box_muller(uint32_t first, uint32_t second, float& cosine,
                                           float& sine) {
  const float radius = sqrtf(-2.0f * logf(static_cast<float>((first >> 8) + 1) * 0x1p-24f));
  sincospif(static_cast<float>(second >> 8) * 0x1p-23f, &sine, &cosine);
  cosine *= radius;
  sine *= radius;
}

// The noise of the elements 4 block ... 4 block + 3.
__device__ __forceinline__ void normals(int64_t block, const PhiloxKey& key, float (&to)[4]) {
  uint32_t words[4];
  philox(static_cast<uint32_t>(block), key, words);
  box_muller(words[0], words[1], to[0], to[1]);
  box_muller(words[2], words[3], to[2], to[3]);
}

// A vector is a block of the generator.
template <int kInner>
__global__ void __launch_bounds__(kThreads)
    add_noise_to_vectors(const __grid_constant__ Extent<uint32_t> extent,
                         const __grid_constant__ Operands operands) {
  const auto& [denoised, out, logical, sigma, counters] = operands;
  for_each_sample(extent.batch, [&](int64_t b) {
    const PhiloxKey key = key_of(counters, b);
    const float level = sigma.data[b * sigma.row];
    for_each_place<kVector>(extent, b, [&](const Place<uint32_t>& place) {
      float value[kInner][kVector];
      load_places<float>(denoised, place.offset_in(denoised), value);
#pragma unroll
      for (int j = 0; j < kInner; ++j) {
        float noise[kVector];
        normals((place.offset_in(logical) + j * logical.inner) / 4, key, noise);
#pragma unroll
        for (int i = 0; i < kVector; ++i) value[j][i] += level * noise[i];
      }
      store_places<float>(out, place.offset_in(out), value);
    });
  });
}

// Any strides: every element draws the block it belongs to.
template <typename Index>
__global__ void __launch_bounds__(kThreads, 2)
    add_noise_to_numbers(const __grid_constant__ Extent<Index> extent,
                         const __grid_constant__ Operands operands) {
  const auto& [denoised, out, logical, sigma, counters] = operands;
  for_each_sample(extent.batch, [&](int64_t b) {
    const PhiloxKey key = key_of(counters, b);
    const float level = sigma.data[b * sigma.row];
    for_each_place<1>(extent, b, [&](const Place<Index>& place) {
      const int64_t index = place.offset_in(logical);
      float noise[4];
      normals(index / 4, key, noise);
      const float low = index % 2 == 0 ? noise[0] : noise[1];
      const float high = index % 2 == 0 ? noise[2] : noise[3];
      const float value = load_at(denoised, place.offset_in(denoised));
      store_at(out, place.offset_in(out), value + level * (index % 4 < 2 ? low : high));
    });
  });
}

__global__ void __launch_bounds__(kThreads) write_words(int64_t batch, int64_t blocks, int64_t* to,
                                                        const __grid_constant__ Counters counters) {
  for_each_sample(batch, [&](int64_t b) {
    const PhiloxKey key = key_of(counters, b);
    for_each_item(blocks, [&](int64_t block) {
      uint32_t words[4];
      philox(static_cast<uint32_t>(block), key, words);
#pragma unroll
      for (int i = 0; i < 4; ++i) to[(b * blocks + block) * 4 + i] = words[i];
    });
  });
}

template <typename Index>
void run_numbers(const Walk& walk, const Operands& operands, Stream stream) {
  launch_items(stream, walk.batch, walk.items(), &add_noise_to_numbers<Index>, Extent<Index>(walk),
               operands);
}

}  // namespace

void launch_transition(const Shape& shape, const View& denoised, const View& out,
                       const Table& sigma, const Counters& counters, Stream stream) {
  View logical = dense_view(nullptr, Element::kFloat, shape);
  logical.batch = 0;
  View views[] = {denoised, out, logical};
  const Walk walk = choose_walk(shape, views, 1, true);
  const Operands operands{views[0], views[1], views[2], sigma, counters};
  if (walk.vectors) {
    const auto kernel = walk.inner == 1 ? &add_noise_to_vectors<1> : &add_noise_to_vectors<3>;
    launch_items(stream, walk.batch, walk.items(), kernel, Extent<uint32_t>(walk), operands);
  } else if (walk.items() < INT32_MAX) {
    run_numbers<uint32_t>(walk, operands, stream);
  } else {
    run_numbers<uint64_t>(walk, operands, stream);
  }
}

void launch_philox_words(int64_t batch, int64_t blocks, int64_t* words, const Counters& counters,
                         Stream stream) {
  launch_items(stream, batch, blocks, &write_words, batch, blocks, words, counters);
}

}  // namespace vml_fast::cuda
