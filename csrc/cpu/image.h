// Images in any type and memory format, worked on as planar stretches of float32.
//
// Every element-wise kernel is a plain loop over float32 arrays. A stretch is a run of pixels of
// one sample with all its channels. Where a tensor is float32 with adjacent pixels, the loop works
// on its memory; elsewhere the stretch passes through a buffer that stays in the first-level cache.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "common/coefficients.h"
#include "cpu/convert.h"

namespace vml_fast::cpu {

using torch::stable::Tensor;

// Where a stretch lies: sample, row, column, length. Rows may be joined (see Tiling).
struct Run {
  int64_t b, h, w, n;
};

// A (B, C, H, W) operand; broadcast dimensions have stride 0.
class Image {
 public:
  explicit Image(const Tensor& tensor)
      : data_(static_cast<char*>(tensor.data_ptr())),
        type_(tensor.scalar_type()),
        bytes_(size_of(type_)) {
    for (int i = 0; i < 4; ++i) stride_[i] = tensor.size(i) == 1 ? 0 : tensor.stride(i);
  }

  int64_t stride(int dimension) const { return stride_[dimension]; }
  ScalarType type() const { return type_; }

  // Rows follow each other at the pixel stride, so that one run may cross them.
  bool joins_rows(int64_t height, int64_t width) const {
    return height == 1 || stride_[2] == width * stride_[3];
  }

  // Sees a column of pixels as a row.
  void transpose() { std::swap(stride_[2], stride_[3]); }

  // Sees a dense sample as one row.
  void flatten() {
    stride_[1] = stride_[2] = 0;
    stride_[3] = 1;
  }

  // Whether a loop can work on the memory itself.
  bool is_direct() const { return type_ == ScalarType::Float && stride_[3] == 1; }

  void* at(const Run& run, int64_t c) const {
    return data_ +
           bytes_ * (run.b * stride_[0] + c * stride_[1] + run.h * stride_[2] + run.w * stride_[3]);
  }

 private:
  char* data_;
  ScalarType type_;
  int64_t bytes_;
  int64_t stride_[4];
};

enum class Access { kRead, kWrite, kModify };

struct Operand {
  Image image;
  Access access;

  Operand(const Tensor& tensor, Access how) : image(tensor), access(how) {}
};

// The operands of an op over one run of pixels, each as float32 planes of n values.
class Stretch {
 public:
  // `buffer` holds (operands + 1) x channels x capacity floats.
  Stretch(const std::vector<Operand>& operands, const Run& run, int64_t channels, float* buffer,
          int64_t capacity);

  const float* read(int operand, int64_t c) const { return plane(operand, c); }
  float* write(int operand, int64_t c) const { return plane(operand, c); }

  // Stores what was written to buffers.
  void commit() const;

  const Run& run() const { return run_; }
  int64_t n() const { return run_.n; }
  int64_t channels() const { return channels_; }

 private:
  float* plane(int operand, int64_t c) const {
    const Image& image = operands_[operand].image;
    if (image.is_direct()) return static_cast<float*>(image.at(run_, c));
    return buffered(operand, image.stride(1) == 0 ? 0 : c);
  }
  float* buffered(int64_t operand, int64_t c) const {
    return buffer_ + (operand * channels_ + c) * capacity_;
  }
  bool is_interleaved(const Image& image) const;
  void load(int64_t operand) const;
  void store(int64_t operand) const;

  const std::vector<Operand>& operands_;
  Run run_;
  int64_t channels_;
  float* buffer_;
  int64_t capacity_;
};

// Cuts (B, C, H, W) into stretches and shares them among torch's threads.
class Tiling {
 public:
  // `elementwise`: no op of a pixel needs its place or its other channels, so that samples which
  // are dense in the same order everywhere become one long row.
  Tiling(const Tensor& shape, std::vector<Operand> operands, bool elementwise);

  // Calls f(stretch) for every stretch.
  template <typename F>
  void for_each(const F& f) const {
    run_tiles([](const Stretch& stretch,
                 const void* context) { (*static_cast<const F*>(context))(stretch); },
              &f);
  }

  // Index of the first element of channel c of a stretch in C, H, W order.
  int64_t logical_index(const Run& run, int64_t c) const {
    return (c * rows_ + run.h) * width_ + run.w;
  }
  int64_t elements() const { return channels_ * rows_ * width_; }

 private:
  void run_tiles(void (*f)(const Stretch&, const void*), const void* context) const;
  bool share_a_dense_order() const;

  std::vector<Operand> operands_;
  int64_t samples_, channels_, rows_, width_;
  int64_t longest_;  // pixels of a stretch at most
};

// The (B | 1, columns) coefficients tensor.
class CoefficientRows {
 public:
  explicit CoefficientRows(const Tensor& tensor)
      : data_(static_cast<const float*>(tensor.data_ptr())),
        row_stride_(tensor.size(0) == 1 ? 0 : tensor.stride(0)),
        column_stride_(tensor.stride(1)) {}

  Coefficients operator[](int64_t b) const {
    return load_coefficients(data_ + b * row_stride_, column_stride_);
  }

  float at(int64_t b, int64_t column) const {
    return data_[b * row_stride_ + column * column_stride_];
  }

 private:
  const float* data_;
  int64_t row_stride_, column_stride_;
};

}  // namespace vml_fast::cpu
