// Argument checks that the CPU and the CUDA implementations share.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <array>
#include <optional>
#include <utility>

namespace vml_fast {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

inline bool is_network_type(ScalarType type) {
  return type == ScalarType::BFloat16 || type == ScalarType::Half || type == ScalarType::Float ||
         type == ScalarType::Double;
}

// The network's output or input gradient: any floating type, (B, C, H, W).
inline void check_network(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == 4, name, " must be (B, C, H, W), got ", tensor.dim(),
                  " dimensions");
  STD_TORCH_CHECK(is_network_type(tensor.scalar_type()), name,
                  " must be bfloat16, float16, float32 or float64");
}

// State and data term: float32 here; the reference alone takes a float64 state.
inline void check_float(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float, name, " must be float32");
}

inline void check_same_shape(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == like.dim(), name, " must have ", like.dim(), " dimensions, got ",
                  tensor.dim());
  for (int64_t i = 0; i < like.dim(); ++i) {
    STD_TORCH_CHECK(tensor.size(i) == like.size(i), name, " has size ", tensor.size(i),
                    " in dimension ", i, ", expected ", like.size(i));
  }
}

// Every size is 1 or that of `like`: the tensor broadcasts against it.
inline void check_broadcasts(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == like.dim(), name, " must have ", like.dim(), " dimensions, got ",
                  tensor.dim());
  for (int64_t i = 0; i < like.dim(); ++i) {
    STD_TORCH_CHECK(tensor.size(i) == 1 || tensor.size(i) == like.size(i), name, " has size ",
                    tensor.size(i), " in dimension ", i, ", expected 1 or ", like.size(i));
  }
}

inline void check_same_device(const Tensor& tensor, const Tensor& like, const char* name) {
  STD_TORCH_CHECK(
      tensor.is_cuda() == like.is_cuda() && tensor.get_device_index() == like.get_device_index(),
      name, " must be on the device of x");
}

// One row of float32 coefficients per sample, or one row for all.
inline void check_coefficients(const Tensor& coefficients, const Tensor& x, int64_t columns) {
  check_float(coefficients, "coefficients");
  check_same_device(coefficients, x, "coefficients");
  STD_TORCH_CHECK(coefficients.dim() == 2 && coefficients.size(1) == columns &&
                      (coefficients.size(0) == 1 || coefficients.size(0) == x.size(0)),
                  "coefficients must be (B, ", columns, ") or (1, ", columns, ")");
}

// A (B, C, H, W) float32 tensor of x's shape, such as a measurement or a term of the bracket.
inline void check_like_state(const Tensor& tensor, const Tensor& x, const char* name) {
  check_float(tensor, name);
  check_same_shape(tensor, x, name);
  check_same_device(tensor, x, name);
}

// What all brackets share: F, the state x and the packed coefficients.
inline void check_bracket(const Tensor& raw, const Tensor& x, const Tensor& coefficients) {
  check_network(raw, "raw");
  check_like_state(x, raw, "x");
  check_coefficients(coefficients, x, 5);
}

inline void check_mask(const Tensor& mask, const Tensor& x) {
  const ScalarType type = mask.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Bool || type == ScalarType::Byte || type == ScalarType::Float,
                  "mask must be bool, uint8 or float32");
  check_broadcasts(mask, x, "mask");
  check_same_device(mask, x, "mask");
}

inline void check_block_measurement(const Tensor& y, const Tensor& x, int64_t factor) {
  check_float(y, "y");
  check_same_device(y, x, "y");
  STD_TORCH_CHECK(factor >= 1 && x.size(2) % factor == 0 && x.size(3) % factor == 0, "factor ",
                  factor, " must divide the height and the width of x");
  STD_TORCH_CHECK(y.dim() == 4 && y.size(0) == x.size(0) && y.size(1) == x.size(1) &&
                      y.size(2) * factor == x.size(2) && y.size(3) * factor == x.size(3),
                  "y must be (B, C, H / factor, W / factor)");
}

inline void check_gray_measurement(const Tensor& y, const Tensor& x) {
  check_float(y, "y");
  check_same_device(y, x, "y");
  STD_TORCH_CHECK(y.dim() == 4 && y.size(0) == x.size(0) && y.size(1) == 1 &&
                      y.size(2) == x.size(2) && y.size(3) == x.size(3),
                  "y must be (B, 1, H, W)");
}

inline void check_writable(const Tensor& tensor, const char* name) {
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    STD_TORCH_CHECK(tensor.size(i) <= 1 || tensor.stride(i) != 0, name,
                    " is overwritten and must not be an expanded tensor");
  }
}

inline void check_update(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& u,
                         const Tensor& coefficients) {
  check_network(x, "x");
  check_float(x, "x");
  check_like_state(v, x, "v");
  for (const auto& [tensor, name] : {std::pair{&gradient, "gradient"}, std::pair{&u, "u"}}) {
    check_network(*tensor, name);
    check_same_shape(*tensor, x, name);
    check_same_device(*tensor, x, name);
  }
  check_writable(x, "x");
  check_writable(u, "u");
  check_coefficients(coefficients, x, 2);
}

// What the filter combines with a spectrum of these (B, C, h, w) sizes and this type.
inline void check_spectral_data(const std::array<int64_t, 4>& sizes, ScalarType type,
                                const Tensor& like, const Tensor& target, const Tensor& s,
                                const Tensor& alpha, const std::optional<Tensor>& beta) {
  STD_TORCH_CHECK(target.scalar_type() == type, "target must be ",
                  type == ScalarType::Float ? "float32" : "complex64");
  const auto broadcasts = [&](const Tensor& tensor, const char* name, bool full) {
    check_same_device(tensor, like, name);
    STD_TORCH_CHECK(tensor.dim() == 4, name, " must have 4 dimensions, got ", tensor.dim());
    for (int64_t i = 0; i < 4; ++i) {
      const bool one = tensor.size(i) == 1 && !(full && i >= 2);
      STD_TORCH_CHECK(one || tensor.size(i) == sizes[i], name, " has size ", tensor.size(i),
                      " in dimension ", i, " against ", sizes[i]);
    }
  };
  broadcasts(target, "target", true);
  for (const auto& [tensor, name] : {std::pair{&s, "s"}, std::pair{&alpha, "alpha"}}) {
    check_float(*tensor, name);
    broadcasts(*tensor, name, false);
  }
  if (beta.has_value()) {
    check_float(*beta, "beta");
    broadcasts(*beta, "beta", false);
  }
}

inline void check_filter(const Tensor& z, const Tensor& target, const Tensor& s,
                         const Tensor& alpha, const std::optional<Tensor>& beta) {
  const ScalarType type = z.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::ComplexFloat,
                  "z must be float32 or complex64");
  STD_TORCH_CHECK(z.dim() == 5 && z.size(0) == (beta.has_value() ? 2 : 1),
                  "z must be (1, B, C, h, w) without beta and (2, B, C, h, w) with it");
  check_spectral_data({z.size(1), z.size(2), z.size(3), z.size(4)}, type, z, target, s, alpha,
                      beta);
}

// V_r and V_c of a separable operator: as many rows as the image has rows and columns.
inline void check_singular_vectors(const Tensor& matrix, int64_t length, const Tensor& x,
                                   const char* name) {
  check_float(matrix, name);
  check_same_device(matrix, x, name);
  STD_TORCH_CHECK(matrix.dim() == 2 && matrix.size(0) == length, name, " must be a matrix of ",
                  length, " rows");
}

inline void check_counters(const Tensor& seed, const Tensor& sample, const Tensor& draw) {
  for (const auto& [tensor, name] :
       {std::pair{&seed, "seed"}, std::pair{&sample, "sample"}, std::pair{&draw, "draw"}}) {
    STD_TORCH_CHECK(tensor->scalar_type() == ScalarType::Long && tensor->dim() == 1, name,
                    " must be a vector of int64");
    check_same_device(*tensor, seed, name);
  }
  STD_TORCH_CHECK(sample.size(0) == seed.size(0), "seed and sample must have the same length");
  STD_TORCH_CHECK(draw.size(0) == 1, "draw must have one element");
}

inline void check_transition(const Tensor& denoised, const Tensor& sigma, const Tensor& seed,
                             const Tensor& sample, const Tensor& draw) {
  check_network(denoised, "denoised");
  check_float(denoised, "denoised");
  check_float(sigma, "sigma");
  check_counters(seed, sample, draw);
  check_same_device(sigma, denoised, "sigma");
  check_same_device(seed, denoised, "seed");
  STD_TORCH_CHECK(sigma.dim() == 1 && sigma.size(0) == denoised.size(0), "sigma must be (B,)");
  STD_TORCH_CHECK(seed.size(0) == denoised.size(0), "seed must be (B,)");
}

inline void check_transform_length(int64_t n) {
  STD_TORCH_CHECK(n >= 1 && (n & (n - 1)) == 0, "the last dimension of x is ", n,
                  "; fwht takes powers of two");
}

inline void check_fwht(const Tensor& x) {
  check_float(x, "x");
  STD_TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension");
  check_transform_length(x.size(x.dim() - 1));
}

inline void check_group_norm(const Tensor& x, int64_t num_groups, const Tensor& weight,
                             const Tensor& bias, const std::optional<Tensor>& scale,
                             const std::optional<Tensor>& shift) {
  check_network(x, "x");
  const int64_t channels = x.size(1);
  STD_TORCH_CHECK(num_groups >= 1 && channels % num_groups == 0, "num_groups ", num_groups,
                  " must divide the ", channels, " channels of x");
  for (const auto& [tensor, name] : {std::pair{&weight, "weight"}, std::pair{&bias, "bias"}}) {
    STD_TORCH_CHECK(
        is_network_type(tensor->scalar_type()) && tensor->dim() == 1 && tensor->size(0) == channels,
        name, " must be (C,) and floating");
    check_same_device(*tensor, x, name);
  }
  for (const auto& [tensor, name] : {std::pair{&scale, "scale"}, std::pair{&shift, "shift"}}) {
    if (!tensor->has_value()) continue;
    const Tensor& value = tensor->value();
    STD_TORCH_CHECK(is_network_type(value.scalar_type()) && value.dim() == 2 &&
                        value.size(0) == x.size(0) && value.size(1) == channels,
                    name, " must be (B, C) and floating");
    check_same_device(value, x, name);
  }
}

inline void check_group_norm_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                                      const Tensor& rstd, int64_t num_groups) {
  check_network(gradient, "gradient");
  check_same_shape(gradient, x, "gradient");
  check_same_device(gradient, x, "gradient");
  const bool is_double = x.scalar_type() == ScalarType::Double;
  STD_TORCH_CHECK(!is_double || gradient.scalar_type() == ScalarType::Double,
                  "gradient must be float64 as x is");
  const ScalarType precise = is_double ? ScalarType::Double : ScalarType::Float;
  for (const auto& [tensor, name] : {std::pair{&mean, "mean"}, std::pair{&rstd, "rstd"}}) {
    STD_TORCH_CHECK(tensor->scalar_type() == precise && tensor->dim() == 2 &&
                        tensor->size(0) == x.size(0) && tensor->size(1) == num_groups,
                    name, " must be (B, num_groups) as the forward pass returned it");
    check_same_device(*tensor, x, name);
  }
}

}  // namespace vml_fast
