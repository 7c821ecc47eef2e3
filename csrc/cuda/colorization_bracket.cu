// Colorization: the mean over the channels is observed.
#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

struct Operands {
  BracketViews images;
  View y;
  Table coefficients;
};

// The gray part of v, the same for all channels, from the sums of D and of D - x over them.
__device__ __forceinline__ float gray_part(const Coefficients& c, float y, float denoised_sum,
                                           float prior_sum, float channels) {
  const float share = 1.0f / channels;
  return c.alpha * rsqrtf(channels) * (y - share * denoised_sum) +
         (c.beta - c.beta_null) * (share * prior_sum);
}

// A thread holds all channels of kVector pixels.
template <typename T, int kChannels>
__global__ void __launch_bounds__(kThreads)
    colorize_vectors(const __grid_constant__ Extent<uint32_t> extent,
                     const __grid_constant__ Operands operands) {
  const auto& [raw, x, v, cotangent] = operands.images;
  for_each_sample(extent.batch, [&](int64_t b) {
    const Coefficients c = coefficients_of(operands.coefficients, b);
    for_each_place<kVector>(extent, b, [&](const Place<uint32_t>& place) {
      float in[kChannels][kVector], state[kChannels][kVector], y[1][kVector];
      load_places<T>(raw, place.offset_in(raw), in);
      load_places<float>(x, place.offset_in(x), state);
      load_places<float>(operands.y, place.offset_in(operands.y), y);
      float out[2][kChannels][kVector];
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        float denoised_sum = 0.0f, prior_sum = 0.0f;
#pragma unroll
        for (int k = 0; k < kChannels; ++k) {
          const float denoised = c.denoised(in[k][i], state[k][i]);
          in[k][i] = denoised - state[k][i];
          denoised_sum += denoised;
          prior_sum += in[k][i];
        }
        const float gray = gray_part(c, y[0][i], denoised_sum, prior_sum, kChannels);
#pragma unroll
        for (int k = 0; k < kChannels; ++k) {
          out[0][k][i] = c.beta_null * in[k][i] + gray;
          out[1][k][i] = c.c_out * out[0][k][i];
        }
      }
      store_places<float>(v, place.offset_in(v), out[0]);
      store_places<T>(cotangent, place.offset_in(cotangent), out[1]);
    });
  });
}

// A thread per pixel, any number of channels: the second look at them comes from the cache.
template <typename Index>
__global__ void __launch_bounds__(kThreads, 2)
    colorize_pixels(const __grid_constant__ Extent<Index> extent,
                    const __grid_constant__ Operands operands) {
  const auto& [raw, x, v, cotangent] = operands.images;
  for_each_sample(extent.batch, [&](int64_t b) {
    const Coefficients c = coefficients_of(operands.coefficients, b);
    for_each_place<1>(extent, b, [&](const Place<Index>& place) {
      const int64_t raw_place = place.offset_in(raw), x_place = place.offset_in(x);
      float denoised_sum = 0.0f, prior_sum = 0.0f;
      for (int k = 0; k < extent.inner; ++k) {
        const float state = load_at(x, x_place + k * x.inner);
        const float denoised = c.denoised(load_at(raw, raw_place + k * raw.inner), state);
        denoised_sum += denoised;
        prior_sum += denoised - state;
      }
      const float y = load_at(operands.y, place.offset_in(operands.y));
      const float gray = gray_part(c, y, denoised_sum, prior_sum, static_cast<float>(extent.inner));
      for (int k = 0; k < extent.inner; ++k) {
        const float state = load_at(x, x_place + k * x.inner);
        const float denoised = c.denoised(load_at(raw, raw_place + k * raw.inner), state);
        const float value = c.beta_null * (denoised - state) + gray;
        store_at(v, place.offset_in(v) + k * v.inner, value);
        store_at(cotangent, place.offset_in(cotangent) + k * cotangent.inner, c.c_out * value);
      }
    });
  });
}

template <typename Index>
void run_pixels(const Walk& walk, const Operands& operands, Stream stream) {
  launch_items(stream, walk.batch, walk.items(), &colorize_pixels<Index>, Extent<Index>(walk),
               operands);
}

}  // namespace

void launch_colorization_bracket(const Shape& shape, const BracketViews& views, const View& y,
                                 const Table& coefficients, Stream stream) {
  View all[] = {views.raw, views.x, views.v, views.cotangent, y};
  Walk walk = choose_pixel_walk(shape, all);
  const Operands operands{{all[0], all[1], all[2], all[3]}, all[4], coefficients};
  const auto run = [&](auto type) {
    using T = decltype(type);
    const auto kernel = walk.inner == 1 ? &colorize_vectors<T, 1> : &colorize_vectors<T, 3>;
    launch_items(stream, walk.batch, walk.items(), kernel, Extent<uint32_t>(walk), operands);
  };
  if (walk.vectors && with_vector_type(views.raw.element, run)) return;
  walk.vectors = false;
  if (walk.items() < INT32_MAX) {
    run_pixels<uint32_t>(walk, operands, stream);
  } else {
    run_pixels<uint64_t>(walk, operands, stream);
  }
}

}  // namespace vml_fast::cuda
