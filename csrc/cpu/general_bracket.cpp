// Any operator: v = alpha term + beta_null (D - x) from a term that is already computed.
#include <torch/csrc/stable/library.h>

#include "cpu/clones.h"
#include "cpu/memory.h"
#include "cpu/passes.h"
#include "cpu/stream.h"

namespace vml_fast::cpu {

VML_CLONES void general_bracket_run(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                                    const float* VML_RESTRICT raw, const float* VML_RESTRICT x,
                                    const float* VML_RESTRICT term, int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float prior = c.denoised(raw[i], x[i]) - x[i];
    const float value = c.alpha * term[i] + c.beta_null * prior;
    v[i] = value;
    cotangent[i] = c.c_out * value;
  }
}

VML_CLONES void scaled_term_run(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                                const float* VML_RESTRICT term, int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = c.alpha * term[i];
    v[i] = value;
    cotangent[i] = c.c_out * value;
  }
}

// The same past the caches; v and cotangent aligned for that.
VML_CLONES void scaled_term_stream(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                                   const float* VML_RESTRICT term, int64_t n, Coefficients c) {
  constexpr int64_t kBlock = kLine / sizeof(float);
  const int64_t whole = n / kBlock * kBlock;
  for (int64_t i = 0; i < whole; i += kBlock) {
    alignas(kLine) float values[kBlock], scaled[kBlock];
    for (int64_t k = 0; k < kBlock; ++k) values[k] = c.alpha * term[i + k];
    for (int64_t k = 0; k < kBlock; ++k) scaled[k] = c.c_out * values[k];
    for (int64_t k = 0; k < kBlock; k += kStreamed) stream(v + i + k, values + k);
    for (int64_t k = 0; k < kBlock; k += kStreamed) stream(cotangent + i + k, scaled + k);
  }
  finish_stream();
  scaled_term_run(v + whole, cotangent + whole, term + whole, n - whole, c);
}

void fill_general_bracket(const Bracket& outputs, const Tensor& raw, const Tensor& x,
                          const Tensor& term, const Tensor& coefficients, bool streamed) {
  const CoefficientRows rows(coefficients);
  bool has_prior = false;
  for (int64_t b = 0; b < coefficients.size(0); ++b) has_prior |= rows[b].beta_null != 0.0f;
  if (!has_prior) {  // without noise, by default: D is not needed again
    const Tiling tiling(x,
                        {{std::get<0>(outputs), Access::kWrite},
                         {std::get<1>(outputs), Access::kWrite},
                         {term, Access::kRead}},
                        true);
    const auto is_plain = [](const Tensor& t) {
      return t.scalar_type() == ScalarType::Float && t.is_contiguous();
    };
    const bool streams =
        streamed && is_plain(std::get<0>(outputs)) && is_plain(std::get<1>(outputs));
    return tiling.for_each([&](const Stretch& s) {
      for (int64_t k = 0; k < s.channels(); ++k) {
        float* const v = s.write(kV, k);
        float* const cotangent = s.write(kCotangent, k);
        const auto run = streams && can_stream(v) && can_stream(cotangent) ? scaled_term_stream
                                                                           : scaled_term_run;
        run(v, cotangent, s.read(2, k), s.n(), rows[s.run().b]);
      }
    });
  }
  fill_bracket(outputs, raw, x, {term}, coefficients, true,
               [](const Stretch& s, const Coefficients& c) {
                 for (int64_t k = 0; k < s.channels(); ++k) {
                   general_bracket_run(s.write(kV, k), s.write(kCotangent, k), s.read(kRaw, k),
                                       s.read(kX, k), s.read(kExtra, k), s.n(), c);
                 }
               });
}

Bracket general_bracket(const Tensor& raw, const Tensor& x, const Tensor& term,
                        const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(term, x, "term");
  const Bracket outputs = empty_bracket(raw, x);
  fill_general_bracket(outputs, raw, x, term, coefficients, is_streamed(x));
  return outputs;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("general_bracket", TORCH_BOX(&vml_fast::cpu::general_bracket));
}
