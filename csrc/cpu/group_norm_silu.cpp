// GroupNorm + scale-shift + SiLU, and its gradient with respect to the input.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "common/check.h"
#include "cpu/group_norm_interleaved.h"
#include "cpu/group_norm_planar.h"
#include "cpu/memory_format.h"

namespace vml_fast::cpu {

namespace {

template <typename A>
GroupNorm<A> group_norm(const Tensor& x, int64_t num_groups, const ScaleShift<A>& parameters,
                        bool activation) {
  return {x.size(0), x.size(1), x.size(2) * x.size(3), num_groups, parameters, activation};
}

// Calls f(the algorithm of a memory format, an element of the type it works on).
template <typename A, typename F>
void with_algorithm([[maybe_unused]] ScalarType type, bool channels_last, const GroupNorm<A>& norm,
                    const F& f) {
  const auto run = [&](auto element) {
    using T = decltype(element);
    channels_last ? f(InterleavedGroupNorm<T>(norm), element)
                  : f(PlanarGroupNorm<T>(norm), element);
  };
  if constexpr (std::is_same_v<A, double>) {
    run(double());
  } else {
    type == ScalarType::BFloat16 ? run(BFloat16Bits()) : run(float());
  }
}

template <typename A>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& input, int64_t num_groups,
                                           const ScaleShift<A>& parameters, double eps,
                                           bool activation) {
  const bool channels_last = prefers_channels_last(input);
  const Tensor x = in_format(input, channels_last);
  Tensor y = torch::stable::empty_like(x);
  const ScalarType precise = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;
  Tensor mean = torch::stable::new_empty(input, {input.size(0), num_groups}, precise);
  Tensor rstd = torch::stable::empty_like(mean);
  A* const means = static_cast<A*>(mean.data_ptr());
  A* const rstds = static_cast<A*>(rstd.data_ptr());
  if (input.numel() > 0) {
    const auto norm = group_norm(input, num_groups, parameters, activation);
    with_algorithm(x.scalar_type(), channels_last, norm, [&](const auto& algorithm, auto element) {
      using T = decltype(element);
      algorithm.forward(Dense<T>(x), Dense<T>(y), eps, means, rstds);
    });
  }
  return {with_strides_of(input, y), mean, rstd};
}

template <typename A>
Tensor backward(const Tensor& gradient, const Tensor& input, const Tensor& mean, const Tensor& rstd,
                int64_t num_groups, const ScaleShift<A>& parameters, bool activation) {
  const bool channels_last = prefers_channels_last(input);
  const Tensor x = in_format(input, channels_last);
  const Tensor g = in_format(gradient, channels_last);
  Tensor dx = torch::stable::empty_like(x);
  const Tensor dense_mean = torch::stable::contiguous(mean);
  const Tensor dense_rstd = torch::stable::contiguous(rstd);
  const A* means = static_cast<const A*>(dense_mean.data_ptr());
  const A* rstds = static_cast<const A*>(dense_rstd.data_ptr());
  if (input.numel() > 0) {
    const auto norm = group_norm(input, num_groups, parameters, activation);
    const bool same = g.scalar_type() == x.scalar_type();
    const ScalarType type = same ? x.scalar_type() : ScalarType::Float;
    with_algorithm(type, channels_last, norm, [&](const auto& algorithm, auto element) {
      using T = decltype(element);
      algorithm.backward(Dense<T>(g), Dense<T>(x), Dense<T>(dx), means, rstds);
    });
  }
  return with_strides_of(input, dx);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> group_norm_silu_forward(
    const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps,
    const std::optional<Tensor>& scale, const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  if (x.scalar_type() == ScalarType::Double) {
    const ScaleShift<double> parameters(weight, bias, scale, shift);
    return forward(x, num_groups, parameters, eps, activation);
  }
  const ScaleShift<float> parameters(weight, bias, scale, shift);
  return forward(x, num_groups, parameters, eps, activation);
}

Tensor group_norm_silu_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                                const Tensor& rstd, int64_t num_groups, const Tensor& weight,
                                const Tensor& bias, const std::optional<Tensor>& scale,
                                const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  check_group_norm_backward(gradient, x, mean, rstd, num_groups);
  if (x.scalar_type() == ScalarType::Double) {
    const ScaleShift<double> parameters(weight, bias, scale, shift);
    return backward(gradient, x, mean, rstd, num_groups, parameters, activation);
  }
  const ScaleShift<float> parameters(weight, bias, scale, shift);
  return backward(gradient, x, mean, rstd, num_groups, parameters, activation);
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("group_norm_silu_forward", TORCH_BOX(&vml_fast::cpu::group_norm_silu_forward));
  m.impl("group_norm_silu_backward", TORCH_BOX(&vml_fast::cpu::group_norm_silu_backward));
}
