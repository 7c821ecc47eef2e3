// Walsh-Hadamard sensing: the bracket around the fast transform.
#include <torch/csrc/stable/library.h>

#include <vector>

#include "cpu/passes.h"

namespace vml_fast::cpu {

Bracket walsh_hadamard_bracket(const Tensor& raw, const Tensor& x, const Tensor& target,
                               const Tensor& s, const Tensor& alpha,
                               const std::optional<Tensor>& beta, const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_transform_length(x.size(2) * x.size(3));
  const auto transform = [](const Tensor& planes) {
    const std::vector<int64_t> shape(planes.sizes().begin(), planes.sizes().end());
    std::vector<int64_t> flat(shape.begin(), shape.end() - 1);
    flat.back() *= shape.back();
    return torch::stable::view(fwht(torch::stable::view(planes, flat)), shape);
  };
  return transform_bracket({raw, x, target, s, alpha, beta, coefficients},
                           {ScalarType::Float, x.size(2), x.size(3)},
                           around_filter(transform, transform));
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("walsh_hadamard_bracket", TORCH_BOX(&vml_fast::cpu::walsh_hadamard_bracket));
}
