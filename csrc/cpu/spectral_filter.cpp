// The point-wise middle of a bracket: alpha (target - s z0) + beta z1, real or complex.
#include <torch/csrc/stable/library.h>

#include "cpu/clones.h"
#include "cpu/passes.h"

namespace vml_fast::cpu {

namespace {

constexpr int64_t kRun = 1024;  // elements of a row at a time

// A broadcast (B, C, h, w) operand of one or two floats per element.
class Values {
 public:
  Values(const Tensor& tensor, int64_t parts, int64_t skip_dimensions = 0)
      : data_(static_cast<const float*>(tensor.data_ptr())), parts_(parts) {
    for (int i = 0; i < 4; ++i) {
      const int64_t dimension = i + skip_dimensions;
      stride_[i] = tensor.size(dimension) == 1 ? 0 : tensor.stride(dimension);
    }
  }

  const float* read(const Run& run, int64_t c, float* buffer, int64_t offset = 0) const {
    const float* from = data_ + parts_ * (offset + run.b * stride_[0] + c * stride_[1] +
                                          run.h * stride_[2] + run.w * stride_[3]);
    if (stride_[3] == 1 || run.n == 1) return from;
    for (int64_t i = 0; i < run.n; ++i) {
      for (int64_t k = 0; k < parts_; ++k)
        buffer[i * parts_ + k] = from[i * parts_ * stride_[3] + k];
    }
    return buffer;
  }

 private:
  const float* data_;
  int64_t parts_;
  int64_t stride_[4];
};

template <int kParts>
VML_INLINE void filter_data(float* VML_RESTRICT out, const float* VML_RESTRICT z,
                            const float* VML_RESTRICT target, const float* VML_RESTRICT s,
                            const float* VML_RESTRICT alpha, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    for (int k = 0; k < kParts; ++k) {
      const int64_t j = kParts * i + k;
      out[j] = alpha[i] * (target[j] - s[i] * z[j]);
    }
  }
}

template <int kParts>
VML_INLINE void filter_prior(float* VML_RESTRICT out, const float* VML_RESTRICT prior,
                             const float* VML_RESTRICT s, const float* VML_RESTRICT beta,
                             int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float weight = s[i] != 0.0f ? beta[i] : 0.0f;
    for (int k = 0; k < kParts; ++k) out[kParts * i + k] += weight * prior[kParts * i + k];
  }
}

}  // namespace

VML_CLONES void filter_data_run(float* out, const float* z, const float* target, const float* s,
                                const float* alpha, int64_t n, int64_t parts) {
  return parts == 1 ? filter_data<1>(out, z, target, s, alpha, n)
                    : filter_data<2>(out, z, target, s, alpha, n);
}

VML_CLONES void filter_prior_run(float* out, const float* prior, const float* s, const float* beta,
                                 int64_t n, int64_t parts) {
  return parts == 1 ? filter_prior<1>(out, prior, s, beta, n)
                    : filter_prior<2>(out, prior, s, beta, n);
}

Tensor spectral_filter(const Tensor& z, const Tensor& target, const Tensor& s, const Tensor& alpha,
                       const std::optional<Tensor>& beta) {
  check_filter(z, target, s, alpha, beta);
  const int64_t samples = z.size(1), channels = z.size(2), rows = z.size(3), width = z.size(4);
  Tensor out = torch::stable::new_empty(z, {samples, channels, rows, width});
  if (out.numel() == 0) return out;
  const int64_t parts = z.scalar_type() == ScalarType::ComplexFloat ? 2 : 1;
  const Values z_values(z, parts, 1), targets(target, parts), s_values(s, 1), alphas(alpha, 1);
  const Values betas = beta.has_value() ? Values(*beta, 1) : alphas;
  const int64_t prior_offset = z.stride(0);
  float* const out_data = static_cast<float*>(out.data_ptr());
  const int64_t stretches = (width + kRun - 1) / kRun;
  share_tiles(
      samples * channels * rows * stretches, parts * std::min(width, kRun), [&](int64_t tile) {
        alignas(64) float wide[2][2 * kRun];
        alignas(64) float narrow[2][kRun];
        const int64_t w = tile % stretches * kRun;
        const int64_t row = tile / stretches;
        const int64_t c = row / rows % channels;
        const Run run{row / rows / channels, row % rows, w, std::min(kRun, width - w)};
        float* out_run = out_data + parts * (row * width + w);
        const float* s_run = s_values.read(run, c, narrow[0]);
        filter_data_run(out_run, z_values.read(run, c, wide[0]), targets.read(run, c, wide[1]),
                        s_run, alphas.read(run, c, narrow[1]), run.n, parts);
        if (beta.has_value()) {
          filter_prior_run(out_run, z_values.read(run, c, wide[0], prior_offset), s_run,
                           betas.read(run, c, narrow[1]), run.n, parts);
        }
      });
  return out;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("spectral_filter", TORCH_BOX(&vml_fast::cpu::spectral_filter));
}
