// Colorization: the mean over the channels is observed.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <vector>

#include "cpu/bracket.h"
#include "cpu/clones.h"

namespace vml_fast::cpu {

// Adds D and D - x of one channel to the sums over channels.
VML_CLONES void add_channel(float* VML_RESTRICT denoised_sum, float* VML_RESTRICT prior_sum,
                            const float* VML_RESTRICT raw, const float* VML_RESTRICT x, int64_t n,
                            Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float denoised = c.denoised(raw[i], x[i]);
    denoised_sum[i] += denoised;
    prior_sum[i] += denoised - x[i];
  }
}

// The gray part of v, the same for all channels; it takes the place of the sum of priors.
VML_CLONES void gray_part(float* VML_RESTRICT gray, const float* VML_RESTRICT denoised_sum,
                          const float* VML_RESTRICT y, int64_t n, float channels, Coefficients c) {
  const float data = c.alpha / std::sqrt(channels);
  const float prior = (c.beta - c.beta_null) / channels;
  const float share = 1.0f / channels;
  for (int64_t i = 0; i < n; ++i) {
    gray[i] = data * (y[i] - share * denoised_sum[i]) + prior * gray[i];
  }
}

VML_CLONES void colorize_channel(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                                 const float* VML_RESTRICT raw, const float* VML_RESTRICT x,
                                 const float* VML_RESTRICT gray, int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float prior = c.denoised(raw[i], x[i]) - x[i];
    const float value = c.beta_null * prior + gray[i];
    v[i] = value;
    cotangent[i] = c.c_out * value;
  }
}

Bracket colorization_bracket(const Tensor& raw, const Tensor& x, const Tensor& y,
                             const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_gray_measurement(y, x);
  const Bracket outputs = empty_bracket(raw, x);
  fill_bracket(outputs, raw, x, {y}, coefficients, false,
               [](const Stretch& s, const Coefficients& c) {
                 thread_local std::vector<float> buffer;
                 buffer.assign(2 * s.n(), 0.0f);
                 float* const denoised_sum = buffer.data();
                 float* const gray = denoised_sum + s.n();
                 for (int64_t k = 0; k < s.channels(); ++k) {
                   add_channel(denoised_sum, gray, s.read(kRaw, k), s.read(kX, k), s.n(), c);
                 }
                 gray_part(gray, denoised_sum, s.read(kExtra, 0), s.n(),
                           static_cast<float>(s.channels()), c);
                 for (int64_t k = 0; k < s.channels(); ++k) {
                   colorize_channel(s.write(kV, k), s.write(kCotangent, k), s.read(kRaw, k),
                                    s.read(kX, k), gray, s.n(), c);
                 }
               });
  return outputs;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("colorization_bracket", TORCH_BOX(&vml_fast::cpu::colorization_bracket));
}
