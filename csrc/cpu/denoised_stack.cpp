// D, and D - x, planar and stacked for one batched transform.
#include <torch/csrc/stable/library.h>

#include "cpu/clones.h"
#include "cpu/passes.h"

namespace vml_fast::cpu {

VML_CLONES void denoised_run(float* VML_RESTRICT denoised, const float* VML_RESTRICT raw,
                             const float* VML_RESTRICT x, int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) denoised[i] = c.denoised(raw[i], x[i]);
}

VML_CLONES void denoised_and_prior_run(float* VML_RESTRICT denoised, float* VML_RESTRICT prior,
                                       const float* VML_RESTRICT raw, const float* VML_RESTRICT x,
                                       int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = c.denoised(raw[i], x[i]);
    denoised[i] = value;
    prior[i] = value - x[i];
  }
}

Tensor denoised_stack(const Tensor& raw, const Tensor& x, const Tensor& coefficients,
                      bool with_prior) {
  check_bracket(raw, x, coefficients);
  const int64_t channels = x.size(1), height = x.size(2), width = x.size(3);
  const int64_t parts = with_prior ? 2 : 1;
  Tensor stack = torch::stable::new_empty(x, {parts, x.size(0), channels, height, width});
  float* const denoised = static_cast<float*>(stack.data_ptr());
  const CoefficientRows rows(coefficients);
  const Tiling tiling(x, {{raw, Access::kRead}, {x, Access::kRead}}, false);
  tiling.for_each([&](const Stretch& s) {
    const Coefficients c = rows[s.run().b];
    for (int64_t k = 0; k < s.channels(); ++k) {
      float* out = denoised + s.run().b * tiling.elements() + tiling.logical_index(s.run(), k);
      if (with_prior) {
        denoised_and_prior_run(out, out + x.numel(), s.read(0, k), s.read(1, k), s.n(), c);
      } else {
        denoised_run(out, s.read(0, k), s.read(1, k), s.n(), c);
      }
    }
  });
  return stack;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("denoised_stack", TORCH_BOX(&vml_fast::cpu::denoised_stack));
}
