// Circular blur: the bracket around real FFTs, torch's where a side is no power of two.
#include <torch/csrc/stable/library.h>

#include <array>
#include <vector>

#include "cpu/fourier_filter.h"

namespace vml_fast::cpu {

namespace {

constexpr int64_t kOrthonormal = 1;  // torch's code of norm="ortho"

Tensor real_fft(const Tensor& planes) {
  const std::vector<int64_t> dimensions = {planes.dim() - 2, planes.dim() - 1};
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(planes), torch::stable::detail::from(dimensions),
      torch::stable::detail::from(kOrthonormal), torch::stable::detail::from(true)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::_fft_r2c", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

Tensor inverse_real_fft(const Tensor& spectrum, int64_t width) {
  const std::vector<int64_t> dimensions = {spectrum.dim() - 2, spectrum.dim() - 1};
  std::array<StableIValue, 4> stack{
      torch::stable::detail::from(spectrum), torch::stable::detail::from(dimensions),
      torch::stable::detail::from(kOrthonormal), torch::stable::detail::from(width)};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::_fft_c2r", "", stack.data(), TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

}  // namespace

Bracket spectral_bracket(const Tensor& raw, const Tensor& x, const Tensor& target, const Tensor& s,
                         const Tensor& alpha, const std::optional<Tensor>& beta,
                         const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  const TransformProblem problem{raw, x, target, s, alpha, beta, coefficients};
  const int64_t height = x.size(2), width = x.size(3);
  const Spectrum spectrum{ScalarType::ComplexFloat, height, width / 2 + 1};
  if (has_fourier_filter(height, width)) {
    return transform_bracket(problem, spectrum, fourier_filter);
  }
  const auto to_image = [=](const Tensor& z) { return inverse_real_fft(z, width); };
  return transform_bracket(problem, spectrum, around_filter(real_fft, to_image));
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("spectral_bracket", TORCH_BOX(&vml_fast::cpu::spectral_bracket));
}
