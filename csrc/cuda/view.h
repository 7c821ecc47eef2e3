// Operands and tables as kernels see them. No header of torch: kernels compile in seconds.
#pragma once

#include <cstdint>

namespace vml_fast::cuda {

enum class Element : int8_t { kFloat, kDouble, kHalf, kBFloat16, kByte };

constexpr int64_t size_of(Element element) {
  switch (element) {
    case Element::kDouble:
      return 8;
    case Element::kFloat:
      return 4;
    case Element::kByte:
      return 1;
    default:
      return 2;
  }
}

// Where work is queued: torch's current stream of a device, which is the current device.
struct Stream {
  void* handle;
  int device;
};

struct Shape {
  int64_t batch, channels, rows, columns;
};

// A (B, C, H, W) operand. Strides count elements and are 0 where it is broadcast. At first `outer`
// is the stride of the channels and `inner` 0; a walk (walk.h) reorders and merges dimensions.
// `may_repeat`: vectors may be made of one number (column = 0).
struct View {
  void* data;
  Element element;
  int64_t batch, outer, row, column, inner;
  bool may_repeat = false;
};

// A float32 matrix of coefficients per sample; stride 0 where one row serves all.
struct Table {
  const float* data;
  int64_t row, column;
};

// A planar operand without gaps.
inline View dense_view(void* data, Element element, const Shape& shape) {
  const int64_t pixels = shape.rows * shape.columns;
  return {data,
          element,
          shape.batch == 1 ? 0 : shape.channels * pixels,
          shape.channels == 1 ? 0 : pixels,
          shape.rows == 1 ? 0 : shape.columns,
          shape.columns == 1 ? 0 : 1,
          0};
}

}  // namespace vml_fast::cuda
