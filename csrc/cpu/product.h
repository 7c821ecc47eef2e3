// Products of small matrices, with what comes before and after them in a bracket.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/coefficients.h"

namespace vml_fast::cpu {

constexpr int64_t kPanel = 64;  // columns of a panel

// A matrix in panels of `width` columns, one after another, the last perhaps narrower. Of one panel
// it is an ordinary matrix.
struct Matrix {
  float* data;
  int64_t rows, columns, width;

  static Matrix plain(float* data, int64_t rows, int64_t columns) {
    return {data, rows, columns, columns};
  }
  static Matrix paneled(float* data, int64_t rows, int64_t columns) {
    return {data, rows, columns, kPanel};
  }

  int64_t size() const { return rows * columns; }
  int64_t row_stride(int64_t j) const { return std::min(width, columns - j / width * width); }
  float* at(int64_t i, int64_t j) const {
    return data + rows * (j / width * width) + i * row_stride(j) + j % width;
  }
};

// The matrix from numbers with these strides.
inline void fill(const Matrix& m, const float* from, int64_t row, int64_t column) {
  for (int64_t j = 0; j < m.columns; j += m.width) {
    const int64_t count = m.row_stride(j);
    for (int64_t i = 0; i < m.rows; ++i) {
      float* const to = m.at(i, j);
      for (int64_t k = 0; k < count; ++k) to[k] = from[i * row + (j + k) * column];
    }
  }
}

// Two images, or an image's planes, of rows without gaps.
struct ImagePair {
  const float* raw;
  const float* x;
  Coefficients coefficients;
};

// Where v and the cotangent go; `streamed` past the caches.
struct BracketPlanes {
  float* v;
  float* cotangent;
  Coefficients coefficients;
  bool streamed;
};

// Whether this machine has instructions that the products are written for.
bool can_multiply();

// Whether they take matrices with this many rows or columns.
inline bool is_multiplied(int64_t n) {
  return n >= 16 && n % 16 == 0;
}

// All take a paneled b.
void multiply(const Matrix& c, const Matrix& a, const Matrix& b);                 // c = a b
void multiply_denoised(const Matrix& c, const ImagePair& a, const Matrix& b);     // c = D b
void multiply_bracket(const BracketPlanes& c, const Matrix& a, const Matrix& b);  // v = alpha a b

}  // namespace vml_fast::cpu
