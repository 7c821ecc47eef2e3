// Colorization: the mean over the channels is observed. One thread per pixel.
#include <torch/csrc/stable/library.h>

#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

// The second look at raw and x comes from the first-level cache.
template <typename T>
__global__ void colorization_kernel(Extent e, BracketImages<T> images, Image<const float> y,
                                    CoefficientRows rows) {
  const uint32_t b = sample_index(), pixel = item_index();
  if (pixel >= e.pixels()) return;
  const uint32_t h = pixel / e.width, w = pixel % e.width;
  const Coefficients c = rows[b];
  float denoised_sum = 0.0f, prior_sum = 0.0f;
  for (uint32_t k = 0; k < e.channels; ++k) {
    const float x = images.x.at(b, k, h, w);
    const float denoised = c.denoised(static_cast<float>(images.raw.at(b, k, h, w)), x);
    denoised_sum += denoised;
    prior_sum += denoised - x;
  }
  const float channels = static_cast<float>(e.channels);
  const float gray =
      c.alpha * rsqrtf(channels) * (y.at(b, 0, h, w) - denoised_sum / channels) +
      (c.beta - c.beta_null) * (prior_sum / channels);
  for (uint32_t k = 0; k < e.channels; ++k) {
    const float x = images.x.at(b, k, h, w);
    const float denoised = c.denoised(static_cast<float>(images.raw.at(b, k, h, w)), x);
    const float v = c.beta_null * (denoised - x) + gray;
    images.v.at(b, k, h, w) = v;
    images.cotangent.at(b, k, h, w) = static_cast<T>(c.c_out * v);
  }
}

}  // namespace

Bracket colorization_bracket(const Tensor& raw, const Tensor& x, const Tensor& y,
                             const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_gray_measurement(y, x);
  const Bracket outputs = empty_bracket(raw, x);
  const Extent e(raw);
  for_network_type(raw.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_items(x, e.samples, e.pixels(), &colorization_kernel<T>, e,
                 BracketImages<T>(outputs, raw, x), Image<const float>(y),
                 CoefficientRows(coefficients));
  });
  return outputs;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("colorization_bracket", TORCH_BOX(&vml_fast::cuda::colorization_bracket));
}
