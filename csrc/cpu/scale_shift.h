// The parameters of GroupNorm with scale-shift, in the arithmetic type.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

#include "cpu/convert.h"
#include "cpu/element.h"

namespace vml_fast::cpu {

using torch::stable::Tensor;

// gain = weight (1 + scale) and offset = bias (1 + scale) + shift per channel, with a row per
// sample where scale or shift is given.
template <typename A>
class ScaleShift {
 public:
  ScaleShift(const Tensor& weight, const Tensor& bias, const std::optional<Tensor>& scale,
             const std::optional<Tensor>& shift)
      : channels_(weight.size(0)),
        samples_(scale.has_value()   ? scale->size(0)
                 : shift.has_value() ? shift->size(0)
                                     : 1),
        per_sample_(scale.has_value() || shift.has_value()),
        gain_(samples_ * channels_),
        offset_(gain_.size()) {
    std::vector<A> row(per_sample_ ? channels_ : 0);
    for (int64_t b = 0; b < samples_; ++b) {
      A* const gain = gain_.data() + b * channels_;
      A* const offset = offset_.data() + b * channels_;
      load(gain, weight, 0);
      load(offset, bias, 0);
      if (scale.has_value()) {
        load(row.data(), *scale, b);
        for (int64_t c = 0; c < channels_; ++c) {
          gain[c] *= A(1) + row[c];
          offset[c] *= A(1) + row[c];
        }
      }
      if (shift.has_value()) {
        load(row.data(), *shift, b);
        for (int64_t c = 0; c < channels_; ++c) offset[c] += row[c];
      }
      std::transform(gain, gain + channels_, gain, quiet<A>);
      std::transform(offset, offset + channels_, offset, quiet<A>);
    }
  }

  A gain(int64_t b, int64_t c) const { return gain_[(per_sample_ ? b * channels_ : 0) + c]; }
  A offset(int64_t b, int64_t c) const { return offset_[(per_sample_ ? b * channels_ : 0) + c]; }

 private:
  // A (C,) parameter, or row b of a (B, C) one.
  void load(A* to, const Tensor& tensor, int64_t b) const {
    const int64_t stride = tensor.stride(tensor.dim() - 1);
    const int64_t start = tensor.dim() == 2 ? b * tensor.stride(0) : 0;
    const ScalarType type = tensor.scalar_type();
    const char* from = static_cast<const char*>(tensor.data_ptr()) + start * size_of(type);
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

  int64_t channels_, samples_;
  bool per_sample_;
  std::vector<A> gain_, offset_;
};

}  // namespace vml_fast::cpu
