// Separable blur and bicubic super-resolution: the bracket around matrix products, torch's where
// the factors are large.
#include <torch/csrc/stable/library.h>

#include "cpu/passes.h"
#include "cpu/small_factors.h"
#include "cpu/stream.h"

namespace vml_fast::cpu {

namespace {

bool is_plain(const Tensor& images) {
  return images.scalar_type() == ScalarType::Float && images.is_contiguous();
}

bool has_prior(const TransformProblem& p) {
  const CoefficientRows rows(p.coefficients);
  bool found = p.beta.has_value();
  for (int64_t b = 0; b < p.coefficients.size(0); ++b) found |= rows[b].beta_null != 0.0f;
  return found;
}

// Without a prior term and without another format to convert: from F to v in four products.
Bracket bracket_of_planes(const TransformProblem& p, const Spectrum& spectrum,
                          const SmallFactors& factors) {
  const int64_t samples = p.x.size(0), channels = p.x.size(1), plane = p.x.size(2) * p.x.size(3);
  check_spectral_data({samples, channels, spectrum.height, spectrum.width}, spectrum.type, p.x,
                      p.target, p.s, p.alpha, p.beta);
  const Bracket outputs = empty_bracket(p.raw, p.x);
  const CoefficientRows rows(p.coefficients);
  const auto at = [&](const Tensor& t, int64_t i) {
    return static_cast<float*>(t.data_ptr()) + i * plane;
  };
  const bool large = is_streamed(p.x);
  share_tiles(samples * channels, plane, [&](int64_t i) {
    const int64_t b = i / channels, c = i % channels;
    float* const v = at(std::get<0>(outputs), i);
    float* const cotangent = at(std::get<1>(outputs), i);
    const bool streamed = large && can_stream(v) && can_stream(cotangent);
    const PlaneFilter filter{{p.target, b, c, 1}, {p.s, b, c, 1}, {p.alpha, b, c, 1}};
    factors.bracket({v, cotangent, rows[b], streamed}, {at(p.raw, i), at(p.x, i), rows[b]}, filter);
  });
  return outputs;
}

}  // namespace

Bracket separable_bracket(const Tensor& raw, const Tensor& x, const Tensor& target, const Tensor& s,
                          const Tensor& alpha, const std::optional<Tensor>& beta,
                          const Tensor& rows_v, const Tensor& columns_v,
                          const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_singular_vectors(rows_v, x.size(2), x, "rows_v");
  check_singular_vectors(columns_v, x.size(3), x, "columns_v");
  const TransformProblem problem{raw, x, target, s, alpha, beta, coefficients};
  const Spectrum spectrum{ScalarType::Float, rows_v.size(1), columns_v.size(1)};
  const Tensor rows_vt = torch::stable::transpose(rows_v, 0, 1);
  const Tensor columns_vt = torch::stable::transpose(columns_v, 0, 1);
  if (SmallFactors::take(rows_v, columns_v) && is_plain(raw) && is_plain(x) &&
      !has_prior(problem)) {
    return bracket_of_planes(problem, spectrum, SmallFactors(rows_v, columns_v));
  }
  const auto sandwich = [](const Tensor& left, const Tensor& planes, const Tensor& right) {
    return torch::stable::matmul(left, torch::stable::matmul(planes, right));
  };
  return transform_bracket(
      problem, spectrum,
      around_filter([&](const Tensor& planes) { return sandwich(rows_vt, planes, columns_v); },
                    [&](const Tensor& z) { return sandwich(rows_v, z, columns_vt); }));
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("separable_bracket", TORCH_BOX(&vml_fast::cpu::separable_bracket));
}
