// Half spectra of real planes: their layout, and the transforms of the rows.
#pragma once

#include <cstdint>

#include "cpu/fourier.h"
#include "cpu/memory.h"

namespace vml_fast::cpu {

// A plane, and its spectrum: blocks of kLanes columns, (W / 2 / kLanes, H, kLanes), the real parts
// before the imaginary ones. Column W / 2 lies in the imaginary part of column 0.
struct PlaneShape {
  int64_t height, width;

  int64_t pixels() const { return height * width; }
  int64_t blocks() const { return width / 2 / kLanes; }
  int64_t block(int64_t i) const { return i * height * kLanes; }
  int64_t imaginary() const { return pixels() / 2; }  // offset of the imaginary parts
  int64_t spectrum() const { return pixels(); }       // floats
};

// Transforms of the rows, 2 kLanes rows at a time: half of them as the imaginary parts of others.
class RowStage {
 public:
  // Floats of memory that it works in, aligned to a cache line.
  static int64_t scratch(const PlaneShape& shape) { return 2 * kLanes * shape.width; }

  RowStage(const PlaneShape& shape, float* memory)
      : shape_(shape),
        tables_(fourier_tables(shape.width)),
        re_(memory),
        im_(memory + kLanes * shape.width) {}

  // The plane's rows times `norm`, transformed; `soon` is fetched meanwhile, in so many steps.
  void forward(float* spectrum, const float* plane, float norm, Soon& soon) const;
  int64_t steps() const {
    return shape_.height / (2 * kLanes) * (shape_.width / kLanes + shape_.blocks());
  }

  // The plane from its spectrum, without normalization.
  void inverse(float* plane, const float* spectrum) const;

 private:
  PlaneShape shape_;
  const FourierTables& tables_;
  float* re_;
  float* im_;
};

}  // namespace vml_fast::cpu
