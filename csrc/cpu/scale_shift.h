// The parameters of GroupNorm with scale-shift, in the arithmetic type.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

#include "cpu/convert.h"

namespace vml_fast::cpu {

using torch::stable::Tensor;

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

}  // namespace vml_fast::cpu
