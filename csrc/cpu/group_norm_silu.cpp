// GroupNorm + scale-shift + SiLU, and its gradient with respect to the input.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "common/check.h"
#include "cpu/lanes.h"
#include "cpu/memory_format.h"
#include "cpu/scale_shift.h"

namespace vml_fast::cpu {

namespace {

int64_t stage_size(const Slice& slice) {
  return std::max(kStage, kStageRows * slice.count);
}

template <typename A>
struct Statistics {
  A mean, rstd;
};

// Mean and 1/sqrt(variance + eps) of each group of the slice, from sums about each channel's
// first value: no cancellation where the mean is large against the spread.
template <typename A>
std::vector<Statistics<A>> statistics(const Blocks<A>& x, const Slice& slice, int64_t per_group,
                                      double eps) {
  Lanes<A> shift(x, slice), sum(x, slice), square(x, slice);
  std::vector<double> sums(slice.count, 0.0), squares(slice.count, 0.0);
  for (int64_t c = 0; c < slice.count; ++c) {
    shift.fill(c, x.first_value(slice.b, slice.first + c));
  }
  std::vector<A> buffer(stage_size(slice));
  x.for_each_piece(slice, [&](int64_t offset, Rows rows, int64_t lane) {
    const A* values = x.load(offset, rows, buffer.data());
    moments(sum.at(lane), square.at(lane), values, shift.at(lane), rows);
    sum.flush(lane, rows.lanes, sums);
    square.flush(lane, rows.lanes, squares);
  });
  const double n = static_cast<double>(x.pixels());
  std::vector<Statistics<A>> result;
  for (int64_t c = 0; c < slice.count; c += per_group) {
    double mean = 0.0, spread = 0.0;
    for (int64_t k = c; k < c + per_group; ++k) {
      mean += (*shift.at(k * x.lanes_per_channel()) + sums[k] / n) / per_group;
    }
    for (int64_t k = c; k < c + per_group; ++k) {
      const double from_mean = *shift.at(k * x.lanes_per_channel()) + sums[k] / n - mean;
      spread += squares[k] - sums[k] * sums[k] / n + n * from_mean * from_mean;
    }
    const double variance = std::max(spread / (n * per_group), 0.0);  // in this order NaN stays
    result.push_back({static_cast<A>(mean), static_cast<A>(1.0 / std::sqrt(variance + eps))});
  }
  return result;
}

template <typename A>
void forward_slice(const Blocks<A>& x, const Blocks<A>& y, const ScaleShift<A>& parameters,
                   const std::vector<Statistics<A>>& groups, int64_t per_group, const Slice& slice,
                   bool activation) {
  Lanes<A> mean(x, slice), gain(x, slice), offset(x, slice);
  for (int64_t c = 0; c < slice.count; ++c) {
    const Statistics<A>& group = groups[c / per_group];
    mean.fill(c, group.mean);
    gain.fill(c, group.rstd * parameters.gain(slice.b, slice.first + c));
    offset.fill(c, parameters.offset(slice.b, slice.first + c));
  }
  std::vector<A> in(stage_size(slice)), out(in.size());
  x.for_each_piece(slice, [&](int64_t start, Rows rows, int64_t lane) {
    const A* values = x.load(start, rows, in.data());
    apply(out.data(), values, {mean.at(lane), gain.at(lane), offset.at(lane)}, rows, activation);
    y.store(start, rows, out.data());
  });
}

// The gradient of one slice in two sweeps: sums of dz = gradient silu'(z), then dx.
template <typename A>
class BackwardSlice {
 public:
  BackwardSlice(const Blocks<A>& gradient, const Blocks<A>& x, const ScaleShift<A>& parameters,
                const A* means, const A* rstds, int64_t per_group, const Slice& slice,
                bool activation)
      : gradient_(gradient),
        x_(x),
        parameters_(parameters),
        rstds_(rstds),
        per_group_(per_group),
        slice_(slice),
        activation_(activation),
        mean_(x, slice),
        gain_(x, slice),
        offset_(x, slice),
        x_buffer_(stage_size(slice)),
        dz_buffer_(x_buffer_.size()) {
    for (int64_t c = 0; c < slice.count; ++c) {
      mean_.fill(c, means[group_of(c)]);
      gain_.fill(c, rstds[group_of(c)] * parameters.gain(slice.b, slice.first + c));
      offset_.fill(c, parameters.offset(slice.b, slice.first + c));
    }
    keeps_ = static_cast<size_t>(slice.count * x.pixels()) <= kKept;
    if (keeps_ && kept().size() < kKept) kept().resize(kKept);
  }

  void write(const Blocks<A>& dx) {
    Lanes<A> sum(x_, slice_), product(x_, slice_);
    std::vector<double> sums(slice_.count, 0.0), products(slice_.count, 0.0);
    sweep(true, [&](int64_t, Rows rows, int64_t lane, Affine<A> affine, const A* x, const A* dz) {
      gradient_sums(sum.at(lane), product.at(lane), dz, x, affine.mean, rows);
      sum.flush(lane, rows.lanes, sums);
      product.flush(lane, rows.lanes, products);
    });
    Lanes<A> constant(x_, slice_), slope(x_, slice_);
    combine(sums, products, constant, slope);
    sweep(false, [&](int64_t start, Rows rows, int64_t lane, Affine<A> affine, const A* x, A* dz) {
      input_gradient(dz, x, affine, constant.at(lane), slope.at(lane), rows);
      dx.store(start, rows, dz);
    });
  }

 private:
  static constexpr size_t kKept = 1 << 18;  // numbers of dz that stay in the second-level cache

  // One buffer per thread: fresh memory would cost more than computing dz again.
  static std::vector<A>& kept() {
    thread_local std::vector<A> buffer;
    return buffer;
  }

  int64_t group_of(int64_t c) const { return (slice_.first + c) / per_group_; }

  // Calls f for every piece with its dz, which is kept from the first sweep where it fits.
  template <typename F>
  void sweep(bool first, const F& f) {
    int64_t position = 0;
    x_.for_each_piece(slice_, [&](int64_t start, Rows rows, int64_t lane) {
      const A* x = x_.load(start, rows, x_buffer_.data());
      const Affine<A> affine{mean_.at(lane), gain_.at(lane), offset_.at(lane)};
      A* dz = keeps_ ? kept().data() + position : dz_buffer_.data();
      position += rows.count * rows.lanes;
      if (first || !keeps_) {
        gradient_.copy(start, rows, dz);
        if (activation_) through_silu(dz, x, affine, rows);
      }
      f(start, rows, lane, affine, x, dz);
    });
  }

  // dx = gain dz - constant - slope (x - mean), from the sums over each group.
  void combine(const std::vector<double>& sums, const std::vector<double>& products,
               Lanes<A>& constant, Lanes<A>& slope) const {
    const double count = static_cast<double>(x_.pixels()) * per_group_;
    for (int64_t c = 0; c < slice_.count; c += per_group_) {
      const double rstd = rstds_[group_of(c)];
      double mean_dxhat = 0.0, mean_product = 0.0;
      for (int64_t k = c; k < c + per_group_; ++k) {
        const double weight = parameters_.gain(slice_.b, slice_.first + k);
        mean_dxhat += weight * sums[k] / count;
        mean_product += weight * products[k] * rstd / count;
      }
      for (int64_t k = c; k < c + per_group_; ++k) {
        constant.fill(k, static_cast<A>(rstd * mean_dxhat));
        slope.fill(k, static_cast<A>(rstd * rstd * mean_product));
      }
    }
  }

  const Blocks<A>& gradient_;
  const Blocks<A>& x_;
  const ScaleShift<A>& parameters_;
  const A* rstds_;
  int64_t per_group_;
  Slice slice_;
  bool activation_, keeps_;
  Lanes<A> mean_, gain_, offset_;
  std::vector<A> x_buffer_, dz_buffer_;
};

template <typename A>
std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& input, int64_t num_groups,
                                           const ScaleShift<A>& parameters, double eps,
                                           bool activation) {
  const bool channels_last = prefers_channels_last(input);
  const Tensor x = in_format(input, channels_last);
  Tensor y = result_in_format(input, channels_last);
  const ScalarType precise = std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float;
  Tensor mean = torch::stable::new_empty(input, {input.size(0), num_groups}, precise);
  Tensor rstd = torch::stable::empty_like(mean);
  A* const means = static_cast<A*>(mean.data_ptr());
  A* const rstds = static_cast<A*>(rstd.data_ptr());
  const Blocks<A> x_blocks(x, channels_last), y_blocks(y, channels_last);
  const int64_t per_group = input.size(1) / num_groups;
  if (input.numel() > 0) {
    for_each_slice(
        input.size(0), input.size(1), num_groups, x_blocks.pixels(), [&](const Slice& slice) {
          const auto groups = statistics(x_blocks, slice, per_group, eps);
          for (size_t g = 0; g < groups.size(); ++g) {
            const int64_t index = slice.b * num_groups + slice.first / per_group + g;
            means[index] = groups[g].mean;
            rstds[index] = groups[g].rstd;
          }
          forward_slice(x_blocks, y_blocks, parameters, groups, per_group, slice, activation);
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
  Tensor dx = result_in_format(input, channels_last);
  const Tensor dense_mean = torch::stable::contiguous(mean);
  const Tensor dense_rstd = torch::stable::contiguous(rstd);
  const A* means = static_cast<const A*>(dense_mean.data_ptr());
  const A* rstds = static_cast<const A*>(dense_rstd.data_ptr());
  const Blocks<A> x_blocks(x, channels_last), g_blocks(g, channels_last);
  const Blocks<A> dx_blocks(dx, channels_last);
  if (input.numel() > 0) {
    for_each_slice(input.size(0), input.size(1), num_groups, x_blocks.pixels(),
                   [&](const Slice& slice) {
                     BackwardSlice<A>(g_blocks, x_blocks, parameters, means + slice.b * num_groups,
                                      rstds + slice.b * num_groups, input.size(1) / num_groups,
                                      slice, activation)
                         .write(dx_blocks);
                   });
  }
  return with_strides_of(input, dx);
}

template <typename A>
ScaleShift<A> scale_shift(const Tensor& weight, const Tensor& bias,
                          const std::optional<Tensor>& scale, const std::optional<Tensor>& shift) {
  const int64_t channels = weight.size(0);
  return {Parameter<A>(weight, channels), Parameter<A>(bias, channels),
          Parameter<A>(scale, channels), Parameter<A>(shift, channels)};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> group_norm_silu_forward(
    const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps,
    const std::optional<Tensor>& scale, const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  if (x.scalar_type() == ScalarType::Double) {
    return forward(x, num_groups, scale_shift<double>(weight, bias, scale, shift), eps, activation);
  }
  return forward(x, num_groups, scale_shift<float>(weight, bias, scale, shift), eps, activation);
}

Tensor group_norm_silu_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                                const Tensor& rstd, int64_t num_groups, const Tensor& weight,
                                const Tensor& bias, const std::optional<Tensor>& scale,
                                const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  check_group_norm_backward(gradient, x, mean, rstd, num_groups);
  if (x.scalar_type() == ScalarType::Double) {
    return backward(gradient, x, mean, rstd, num_groups,
                    scale_shift<double>(weight, bias, scale, shift), activation);
  }
  return backward(gradient, x, mean, rstd, num_groups,
                  scale_shift<float>(weight, bias, scale, shift), activation);
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("group_norm_silu_forward", TORCH_BOX(&vml_fast::cpu::group_norm_silu_forward));
  m.impl("group_norm_silu_backward", TORCH_BOX(&vml_fast::cpu::group_norm_silu_backward));
}
