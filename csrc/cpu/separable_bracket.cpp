// Separable blur and bicubic super-resolution: the bracket around torch's matrix products.
#include <torch/csrc/stable/library.h>

#include "cpu/passes.h"

namespace vml_fast::cpu {

Bracket separable_bracket(const Tensor& raw, const Tensor& x, const Tensor& target, const Tensor& s,
                          const Tensor& alpha, const std::optional<Tensor>& beta,
                          const Tensor& rows_v, const Tensor& columns_v,
                          const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_singular_vectors(rows_v, x.size(2), x, "rows_v");
  check_singular_vectors(columns_v, x.size(3), x, "columns_v");
  const Tensor rows_vt = torch::stable::transpose(rows_v, 0, 1);
  const Tensor columns_vt = torch::stable::transpose(columns_v, 0, 1);
  const auto sandwich = [](const Tensor& left, const Tensor& planes, const Tensor& right) {
    return torch::stable::matmul(left, torch::stable::matmul(planes, right));
  };
  return transform_bracket(
      {raw, x, target, s, alpha, beta, coefficients},
      {ScalarType::Float, rows_v.size(1), columns_v.size(1)},
      [&](const Tensor& planes) { return sandwich(rows_vt, planes, columns_v); },
      [&](const Tensor& z) { return sandwich(rows_v, z, columns_vt); });
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("separable_bracket", TORCH_BOX(&vml_fast::cpu::separable_bracket));
}
