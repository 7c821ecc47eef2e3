// How an image is cut into the work of threads.
#pragma once

#include <span>

#include "cuda/view.h"

namespace vml_fast::cuda {

constexpr int kVector = 4;  // neighbors in a row that one thread takes together

// A sample is outer x rows x columns places, each of `inner` numbers. With `vectors` a thread takes
// kVector places of a row, and every operand delivers them in 8- or 16-byte accesses: its columns
// are adjacent, or its inner numbers are (an RGB image in channels-last order), or one number
// serves a whole row. Else a thread takes one place.
struct Walk {
  int64_t batch, outer, rows, columns;
  int inner;
  bool vectors;

  int64_t items() const { return outer * rows * (vectors ? columns / kVector : columns); }
};

// For ops in which no number needs another one. `inner` is 2 for complex operands, else 1. Samples
// that are dense in the same order everywhere become one row; other RGB images are walked by pixels
// (inner = 3) if `pixels` allows it. Reorders the strides of `views`; the first one sets the order
// where nothing better is left.
Walk choose_walk(const Shape& shape, std::span<View> views, int inner, bool pixels);

// For ops that need all channels of a pixel: inner = channels.
Walk choose_pixel_walk(const Shape& shape, std::span<View> views);

// For ops that need rows of pixels as they are: vectors along a row of one channel or, where the
// format asks for it, of three.
Walk choose_row_walk(const Shape& shape, std::span<View> views);

}  // namespace vml_fast::cuda
