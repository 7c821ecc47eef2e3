// The passes that the transform families are made of: D, the point-wise filter, and the finish.
#pragma once

#include <optional>
#include <vector>

#include "cpu/bracket.h"
#include "cpu/parallel.h"

namespace vml_fast::cpu {

Tensor denoised_stack(const Tensor& raw, const Tensor& x, const Tensor& coefficients,
                      bool with_prior);

Tensor spectral_filter(const Tensor& z, const Tensor& target, const Tensor& s, const Tensor& alpha,
                       const std::optional<Tensor>& beta);

void fill_general_bracket(const Bracket& outputs, const Tensor& raw, const Tensor& x,
                          const Tensor& term, const Tensor& coefficients);

Tensor fwht(const Tensor& x);

// What every transform family is given.
struct TransformProblem {
  const Tensor& raw;
  const Tensor& x;
  const Tensor& target;
  const Tensor& s;
  const Tensor& alpha;
  const std::optional<Tensor>& beta;
  const Tensor& coefficients;
};

// What a transform makes of an image.
struct Spectrum {
  ScalarType type;
  int64_t height, width;
};

// Samples [first, first + count) of a tensor; the whole of one that all samples share.
inline Tensor samples_of(const Tensor& tensor, int64_t first, int64_t count, int64_t samples) {
  if (tensor.size(0) == 1 && samples != 1) return tensor;
  Tensor view = tensor;
  return torch::stable::narrow(view, 0, first, count);
}

// The bracket around to_spectrum(stack) and to_image(filtered), a few samples at a time: what one
// step writes is still in the second-level cache when the next one reads it. The caller has checked
// the images; everything is checked before work is shared, as threads do not pass messages on.
template <typename ToSpectrum, typename ToImage>
Bracket transform_bracket(const TransformProblem& p, const Spectrum& spectrum,
                          const ToSpectrum& to_spectrum, const ToImage& to_image) {
  constexpr int64_t kInCache = 200000;  // elements of a stage
  check_spectral_data({p.x.size(0), p.x.size(1), spectrum.height, spectrum.width}, spectrum.type,
                      p.x, p.target, p.s, p.alpha, p.beta);
  const Bracket outputs = empty_bracket(p.raw, p.x);
  const int64_t samples = p.x.size(0);
  if (p.x.numel() == 0) return outputs;
  const int64_t step = std::clamp<int64_t>(kInCache / (p.x.numel() / samples), 1, samples);
  const auto part = [&](int64_t first) {
    const int64_t count = std::min(step, samples - first);
    const auto of = [&](const Tensor& t) { return samples_of(t, first, count, samples); };
    const Tensor raw = of(p.raw), x = of(p.x), coefficients = of(p.coefficients);
    const std::optional<Tensor> beta = p.beta.has_value() ? std::optional(of(*p.beta)) : p.beta;
    const Tensor z = to_spectrum(denoised_stack(raw, x, coefficients, beta.has_value()));
    const Tensor filtered = spectral_filter(z, of(p.target), of(p.s), of(p.alpha), beta);
    fill_general_bracket({of(std::get<0>(outputs)), of(std::get<1>(outputs))}, raw, x,
                         to_image(filtered), coefficients);
  };
  const int64_t parts = (samples + step - 1) / step;
  if (parts >= static_cast<int64_t>(torch::stable::get_num_threads())) {
    share_tiles(parts, step * (p.x.numel() / samples), [&](int64_t i) { part(i * step); });
  } else {  // too few parts for the threads: they share the work inside each step instead
    for (int64_t i = 0; i < parts; ++i) part(i * step);
  }
  return outputs;
}

}  // namespace vml_fast::cpu
