// GroupNorm + scale-shift + SiLU, and its gradient with respect to the input.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <cmath>
#include <optional>
#include <tuple>
#include <vector>

#include "common/check.h"
#include "cpu/lanes.h"

namespace vml_fast::cpu {

namespace {

// A (C,) or (B, C) parameter of any floating type in the arithmetic type; zeros if there is none.
template <typename A>
class Parameter {
 public:
  Parameter(const std::optional<Tensor>& tensor, int64_t channels) : channels_(channels) {
    if (!tensor.has_value()) {
      values_.assign(channels, A(0));
      return;
    }
    const bool per_sample = tensor->dim() == 2;
    const int64_t rows = per_sample ? tensor->size(0) : 1;
    const int64_t row_stride = per_sample ? tensor->stride(0) : 0;
    const int64_t stride = tensor->stride(tensor->dim() - 1);
    per_sample_ = per_sample;
    values_.resize(rows * channels);
    const ScalarType type = tensor->scalar_type();
    const char* data = static_cast<const char*>(tensor->data_ptr());
    for (int64_t b = 0; b < rows; ++b) {
      load(values_.data() + b * channels, data + b * row_stride * size_of(type), stride, type);
    }
  }

  A at(int64_t b, int64_t channel) const {
    return values_[(per_sample_ ? b * channels_ : 0) + channel];
  }

 private:
  void load(A* to, const char* from, int64_t stride, ScalarType type) const {
    if constexpr (std::is_same_v<A, float>) {
      load_floats(to, from, stride, channels_, type);
    } else if (type == ScalarType::Double) {
      const double* values = reinterpret_cast<const double*>(from);
      for (int64_t c = 0; c < channels_; ++c) to[c] = values[c * stride];
    } else {
      std::vector<float> values(channels_);
      load_floats(values.data(), from, stride, channels_, type);
      std::copy(values.begin(), values.end(), to);
    }
  }

  int64_t channels_;
  bool per_sample_ = false;
  std::vector<A> values_;
};

// w (1 + scale) and b (1 + scale) + shift.
template <typename A>
struct ScaleShift {
  Parameter<A> weight, bias, scale, shift;

  A gain(int64_t b, int64_t c) const { return weight.at(b, c) * (A(1) + scale.at(b, c)); }
  A offset(int64_t b, int64_t c) const {
    return bias.at(b, c) * (A(1) + scale.at(b, c)) + shift.at(b, c);
  }
};

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

template <typename A>
void backward_slice(const Blocks<A>& gradient, const Blocks<A>& x, const Blocks<A>& dx,
                    const ScaleShift<A>& parameters, const A* means, const A* rstds,
                    int64_t per_group, const Slice& slice, bool activation) {
  Lanes<A> mean(x, slice), gain(x, slice), offset(x, slice), sum(x, slice), product(x, slice);
  std::vector<double> sums(slice.count, 0.0), products(slice.count, 0.0);
  const auto group_of = [&](int64_t c) { return (slice.first + c) / per_group; };
  for (int64_t c = 0; c < slice.count; ++c) {
    mean.fill(c, means[group_of(c)]);
    gain.fill(c, rstds[group_of(c)] * parameters.gain(slice.b, slice.first + c));
    offset.fill(c, parameters.offset(slice.b, slice.first + c));
  }
  std::vector<A> x_buffer(stage_size(slice)), g_buffer(x_buffer.size());
  // dz = gradient silu'(z) of a piece; it is computed in both sweeps rather than stored.
  const auto for_each_dz = [&](const auto& f) {
    x.for_each_piece(slice, [&](int64_t start, Rows rows, int64_t lane) {
      const A* values = x.load(start, rows, x_buffer.data());
      A* dz = gradient.copy(start, rows, g_buffer.data());
      const Affine<A> affine{mean.at(lane), gain.at(lane), offset.at(lane)};
      if (activation) through_silu(dz, values, affine, rows);
      f(start, rows, lane, affine, values, dz);
    });
  };
  for_each_dz(
      [&](int64_t, Rows rows, int64_t lane, Affine<A> affine, const A* values, const A* dz) {
        gradient_sums(sum.at(lane), product.at(lane), dz, values, affine.mean, rows);
        sum.flush(lane, rows.lanes, sums);
        product.flush(lane, rows.lanes, products);
      });
  Lanes<A> constant(x, slice), slope(x, slice);
  const double count = static_cast<double>(x.pixels()) * per_group;
  for (int64_t c = 0; c < slice.count; c += per_group) {
    const double rstd = rstds[group_of(c)];
    double mean_dxhat = 0.0, mean_product = 0.0;
    for (int64_t k = c; k < c + per_group; ++k) {
      const double weight = parameters.gain(slice.b, slice.first + k);
      mean_dxhat += weight * sums[k] / count;
      mean_product += weight * products[k] * rstd / count;
    }
    for (int64_t k = c; k < c + per_group; ++k) {
      constant.fill(k, static_cast<A>(rstd * mean_dxhat));
      slope.fill(k, static_cast<A>(rstd * rstd * mean_product));
    }
  }
  for_each_dz(
      [&](int64_t start, Rows rows, int64_t lane, Affine<A> affine, const A* values, A* dz) {
        input_gradient(dz, values, affine, constant.at(lane), slope.at(lane), rows);
        dx.store(start, rows, dz);
      });
}

bool is_channels_last(const Tensor& t) {
  const int64_t c = t.size(1), h = t.size(2), w = t.size(3);
  return (c == 1 || t.stride(1) == 1) && (w == 1 || t.stride(3) == c) &&
         (h == 1 || t.stride(2) == w * c) && (t.size(0) == 1 || t.stride(0) == h * w * c);
}

// The format to work in; a single pixel is a row of channels in both.
bool prefers_channels_last(const Tensor& t) {
  return !t.is_contiguous() || t.size(2) * t.size(3) == 1;
}

// The tensor itself if dense in the format asked for, else a copy that is.
Tensor in_format(const Tensor& tensor, bool channels_last) {
  if (channels_last ? is_channels_last(tensor) : tensor.is_contiguous()) return tensor;
  return torch::stable::contiguous(tensor, channels_last
                                               ? torch::headeronly::MemoryFormat::ChannelsLast
                                               : torch::headeronly::MemoryFormat::Contiguous);
}

// An uninitialised result for `like`, dense in the format, and the tensor to return: the same one,
// unless `like` has other strides.
Tensor result_in_format(const Tensor& like, bool channels_last) {
  Tensor result = torch::stable::empty_like(like);
  return (channels_last ? is_channels_last(result) : result.is_contiguous())
             ? result
             : torch::stable::empty_like(in_format(like, channels_last));
}

Tensor with_strides_of(const Tensor& like, Tensor result) {
  Tensor wanted = torch::stable::empty_like(like);
  for (int64_t i = 0; i < 4; ++i) {
    if (wanted.stride(i) != result.stride(i)) return torch::stable::copy_(wanted, result);
  }
  return result;
}

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
                     backward_slice(g_blocks, x_blocks, dx_blocks, parameters,
                                    means + slice.b * num_groups, rstds + slice.b * num_groups,
                                    input.size(1) / num_groups, slice, activation);
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
