// Inpainting: from the network's raw output to the bracket v and the network's cotangent.
#include <torch/csrc/stable/library.h>

#include "cpu/bracket.h"
#include "cpu/clones.h"

namespace vml_fast::cpu {

VML_CLONES void mask_bracket_run(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                                 const float* VML_RESTRICT raw, const float* VML_RESTRICT x,
                                 const float* VML_RESTRICT y, const float* VML_RESTRICT mask,
                                 int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float denoised = c.denoised(raw[i], x[i]);
    const float prior = denoised - x[i];
    const float observed = c.alpha * (y[i] - denoised) + c.beta * prior;
    const float hidden = c.beta_null * prior;
    const float value = mask[i] != 0.0f ? observed : hidden;
    v[i] = value;
    cotangent[i] = c.c_out * value;
  }
}

Bracket mask_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, const Tensor& mask,
                     const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(y, x, "y");
  check_mask(mask, x);
  const Bracket outputs = empty_bracket(raw, x);
  fill_bracket(
      outputs, raw, x, {y, mask}, coefficients, false, [](const Stretch& s, const Coefficients& c) {
        for (int64_t k = 0; k < s.channels(); ++k) {
          mask_bracket_run(s.write(kV, k), s.write(kCotangent, k), s.read(kRaw, k), s.read(kX, k),
                           s.read(kExtra, k), s.read(kExtra + 1, k), s.n(), c);
        }
      });
  return outputs;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("mask_bracket", TORCH_BOX(&vml_fast::cpu::mask_bracket));
}
