// D, and D - x, planar and stacked for one batched transform.
#include <torch/csrc/stable/library.h>

#include "cuda/image.cuh"

namespace vml_fast::cuda {

namespace {

template <typename T>
__global__ void denoised_kernel(Extent e, Image<const T> raw, Image<const float> x, float* out,
                                CoefficientRows rows, bool with_prior) {
  if (item_index() >= e.sample()) return;
  const Place p = place_of(sample_index(), item_index(), e);
  const int64_t index = int64_t{p.b} * e.sample() + item_index();
  const float state = x.at(p);
  const float denoised = rows[p.b].denoised(static_cast<float>(raw.at(p)), state);
  out[index] = denoised;
  if (with_prior) out[index + e.elements()] = denoised - state;
}

}  // namespace

Tensor denoised_stack(const Tensor& raw, const Tensor& x, const Tensor& coefficients,
                      bool with_prior) {
  check_bracket(raw, x, coefficients);
  Extent e(raw);
  e.interleaved = false;  // threads follow the planar output
  Tensor stack = torch::stable::new_empty(
      x, {with_prior ? 2 : 1, e.samples, e.channels, e.height, e.width});
  for_network_type(raw.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch_items(x, e.samples, e.sample(), &denoised_kernel<T>, e, Image<const T>(raw),
                 Image<const float>(x), static_cast<float*>(stack.data_ptr()),
                 CoefficientRows(coefficients), with_prior);
  });
  return stack;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("denoised_stack", TORCH_BOX(&vml_fast::cuda::denoised_stack));
}
