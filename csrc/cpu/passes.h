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

// Where v and the cotangent are larger together, a plain pass writes them past the caches.
inline bool is_streamed(const Tensor& x) {
  constexpr int64_t kCached = 4 << 20;  // bytes
  return 2 * x.numel() * size_of(ScalarType::Float) > kCached;
}

void fill_general_bracket(const Bracket& outputs, const Tensor& raw, const Tensor& x,
                          const Tensor& term, const Tensor& coefficients, bool streamed);

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

// Which images of a batch a step works on: samples and channels.
struct Part {
  int64_t sample, samples, channel, channels;
};

// A part of a (B | 1, C | 1, ...) tensor of a batch with `all` samples and channels.
inline Tensor part_of(const Tensor& tensor, const Part& part, const Part& all) {
  Tensor view = tensor;
  if (part.samples != all.samples && view.size(0) != 1) {
    view = torch::stable::narrow(view, 0, part.sample, part.samples);
  }
  if (part.channels != all.channels && view.dim() == 4 && view.size(1) != 1) {
    view = torch::stable::narrow(view, 1, part.channel, part.channels);
  }
  return view;
}

// Parts of about kInCache elements: of whole samples, or of planes where a sample is larger.
inline std::vector<Part> parts_of(const TransformProblem& p) {
  constexpr int64_t kInCache = 100000;  // elements of a stage; six of them fit the second level
  const int64_t samples = p.x.size(0), channels = p.x.size(1);
  const int64_t plane = p.x.size(2) * p.x.size(3);
  const bool planar = p.raw.is_contiguous() && p.x.is_contiguous();
  const int64_t planes = planar ? std::clamp<int64_t>(kInCache / plane, 1, channels) : channels;
  const int64_t step = std::clamp<int64_t>(kInCache / (planes * plane), 1, samples);
  std::vector<Part> parts;
  for (int64_t b = 0; b < samples; b += planes == channels ? step : 1) {
    const int64_t count = planes == channels ? std::min(step, samples - b) : 1;
    for (int64_t c = 0; c < channels; c += planes) {
      parts.push_back({b, count, c, std::min(planes, channels - c)});
    }
  }
  return parts;
}

// The bracket around term_of(stack, target, s, alpha, beta), the term of the images in a stack of D
// and perhaps D - x, a few images at a time: what one step writes is still in the second-level
// cache when the next one reads it. The caller has checked the images; everything is checked before
// work is shared, as threads do not pass messages on.
template <typename TermOf>
Bracket transform_bracket(const TransformProblem& p, const Spectrum& spectrum,
                          const TermOf& term_of) {
  check_spectral_data({p.x.size(0), p.x.size(1), spectrum.height, spectrum.width}, spectrum.type,
                      p.x, p.target, p.s, p.alpha, p.beta);
  const Bracket outputs = empty_bracket(p.raw, p.x);
  if (p.x.numel() == 0) return outputs;
  const Part all{0, p.x.size(0), 0, p.x.size(1)};
  const std::vector<Part> parts = parts_of(p);
  const auto run = [&](int64_t i) {
    const auto of = [&](const Tensor& t) { return part_of(t, parts[i], all); };
    const Tensor raw = of(p.raw), x = of(p.x), coefficients = of(p.coefficients);
    const std::optional<Tensor> beta = p.beta.has_value() ? std::optional(of(*p.beta)) : p.beta;
    const Tensor term = term_of(denoised_stack(raw, x, coefficients, beta.has_value()),
                                of(p.target), of(p.s), of(p.alpha), beta);
    fill_general_bracket({of(std::get<0>(outputs)), of(std::get<1>(outputs))}, raw, x, term,
                         coefficients, is_streamed(p.x));
  };
  const int64_t count = static_cast<int64_t>(parts.size());
  if (count >= static_cast<int64_t>(torch::stable::get_num_threads())) {
    share_tiles(count, p.x.numel() / count, run);
  } else {  // too few parts for the threads: they share the work inside each step instead
    for (int64_t i = 0; i < count; ++i) run(i);
  }
  return outputs;
}

// A term by to_image(filtered) after the filter on to_spectrum(stack).
template <typename ToSpectrum, typename ToImage>
auto around_filter(const ToSpectrum& to_spectrum, const ToImage& to_image) {
  return [=](const Tensor& stack, const Tensor& target, const Tensor& s, const Tensor& alpha,
             const std::optional<Tensor>& beta) {
    return to_image(spectral_filter(to_spectrum(stack), target, s, alpha, beta));
  };
}

}  // namespace vml_fast::cpu
