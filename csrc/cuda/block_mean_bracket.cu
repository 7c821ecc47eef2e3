// Block-mean super-resolution: the mean of every factor x factor block is observed.
#include <torch/csrc/stable/library.h>

#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

struct Sums {
  float denoised, prior;

  // Adds up `lanes` neighbouring lanes, a power of two; every lane gets the total.
  __device__ void reduce(uint32_t lanes) {
    for (uint32_t distance = lanes / 2; distance > 0; distance /= 2) {
      denoised += __shfl_xor_sync(kAllLanes, denoised, distance);
      prior += __shfl_xor_sync(kAllLanes, prior, distance);
    }
  }
};

__device__ inline float block_part(const Sums& sums, float y, float factor, const Coefficients& c) {
  const float area = factor * factor;
  return c.alpha / factor * (y - sums.denoised / area) +
         (c.beta - c.beta_null) * (sums.prior / area);
}

template <typename T>
__device__ void add_pixel(Sums& sums, const BracketImages<T>& images, const Coefficients& c,
                          uint32_t b, uint32_t k, uint32_t h, uint32_t w) {
  const float x = images.x.at(b, k, h, w);
  const float denoised = c.denoised(static_cast<float>(images.raw.at(b, k, h, w)), x);
  sums.denoised += denoised;
  sums.prior += denoised - x;
}

template <typename T>
__device__ void write_pixel(const BracketImages<T>& images, const Coefficients& c, float part,
                            uint32_t b, uint32_t k, uint32_t h, uint32_t w) {
  const float x = images.x.at(b, k, h, w);
  const float denoised = c.denoised(static_cast<float>(images.raw.at(b, k, h, w)), x);
  const float v = c.beta_null * (denoised - x) + part;
  images.v.at(b, k, h, w) = v;
  images.cotangent.at(b, k, h, w) = static_cast<T>(c.c_out * v);
}

// `lanes` threads share a block. Factors that are powers of two up to a warp: lanes = factor, one
// thread per column, so that a warp reads whole lines. Other factors: a warp per block.
template <typename T>
__global__ void block_mean_kernel(Extent e, BracketImages<T> images, Image<const float> y,
                                  CoefficientRows rows, uint32_t factor, uint32_t lanes) {
  const uint32_t across = e.width / factor, down = e.height / factor;
  const uint32_t group = item_index() / lanes, lane = item_index() % lanes;
  const bool inside = group < e.channels * down * across;  // all lanes of a warp join its sums
  const uint32_t block = inside ? group : 0;
  const uint32_t j = block % across, i = block / across % down, k = block / across / down;
  const uint32_t b = sample_index();
  const Coefficients c = rows[b];
  const uint32_t pixels = inside ? factor * factor : 0;
  Sums sums{0.0f, 0.0f};
  for (uint32_t q = lane; q < pixels; q += lanes) {
    add_pixel(sums, images, c, b, k, i * factor + q / factor, j * factor + q % factor);
  }
  sums.reduce(lanes);
  if (!inside) return;
  const float part = block_part(sums, y.at(b, k, i, j), static_cast<float>(factor), c);
  for (uint32_t q = lane; q < pixels; q += lanes) {
    write_pixel(images, c, part, b, k, i * factor + q / factor, j * factor + q % factor);
  }
}

}  // namespace

Bracket block_mean_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, int64_t factor,
                           const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_block_measurement(y, x, factor);
  const Bracket outputs = empty_bracket(raw, x);
  const Extent e(raw);
  const bool by_column = factor <= kWarp && (factor & (factor - 1)) == 0;
  const uint32_t side = static_cast<uint32_t>(factor), lanes = by_column ? side : kWarp;
  for_network_type(raw.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_items(x, e.samples, int64_t{e.sample() / side / side} * lanes, &block_mean_kernel<T>, e,
                 BracketImages<T>(outputs, raw, x), Image<const float>(y),
                 CoefficientRows(coefficients), side, lanes);
  });
  return outputs;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("block_mean_bracket", TORCH_BOX(&vml_fast::cuda::block_mean_bracket));
}
