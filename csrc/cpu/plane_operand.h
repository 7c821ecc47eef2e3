// One plane of a broadcast operand.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace vml_fast::cpu {

using torch::stable::Tensor;

// A (B | 1, C | 1, h | 1, w | 1) operand of one plane, one or two floats (`parts`) per element.
struct PlaneOperand {
  const float* data;
  int64_t row, column;  // strides in floats

  PlaneOperand(const Tensor& tensor, int64_t b, int64_t c, int64_t parts) {
    const auto stride = [&](int i) { return tensor.size(i) == 1 ? 0 : parts * tensor.stride(i); };
    data = static_cast<const float*>(tensor.data_ptr()) + b * stride(0) + c * stride(1);
    row = stride(2);
    column = stride(3);
  }

  const float* at(int64_t h, int64_t w) const { return data + h * row + w * column; }
};

}  // namespace vml_fast::cpu
