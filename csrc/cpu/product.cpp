// A block of kRows rows and a panel of the result stay in registers over the whole sum.
#include "cpu/product.h"

#include "cpu/clones.h"
#include "cpu/memory.h"
#include "cpu/stream.h"

namespace vml_fast::cpu {

#if defined(__x86_64__)

namespace {

constexpr int64_t kRows = 6;  // with 4 vectors each they fill 24 of 32 registers

using Wide = float __attribute__((vector_size(64), aligned(4), may_alias));
using Narrow = float __attribute__((vector_size(32), aligned(4), may_alias));

// Left factors: `rows(i)` is a matrix whose first row is row i of the factor.
struct Rows {
  Matrix matrix;
  int64_t first;

  const float* at(int64_t k) const { return matrix.at(first, k); }
};

struct MatrixRows {
  Matrix a;

  int64_t columns() const { return a.columns; }
  VML_INLINE Rows rows(int64_t i) const { return {a, i}; }
};

// D, a block of rows at a time.
struct DenoisedRows {
  ImagePair a;
  int64_t width;
  float* block;

  int64_t columns() const { return width; }
  VML_INLINE Rows rows(int64_t i) const {
    const float* VML_RESTRICT const raw = a.raw + i * width;
    const float* VML_RESTRICT const x = a.x + i * width;
    float* VML_RESTRICT const to = block;
    const Coefficients c = a.coefficients;
    for (int64_t k = 0; k < kRows * width; ++k) to[k] = c.denoised(raw[k], x[k]);
    return {Matrix::plain(block, kRows, width), 0};
  }
};

// Results: `store` takes a vector of row i from column j on.
struct MatrixResult {
  Matrix c;

  int64_t rows() const { return c.rows; }
  template <typename Vector>
  VML_INLINE void store(int64_t i, int64_t j, const Vector& value) const {
    *reinterpret_cast<Vector*>(c.at(i, j)) = value;
  }
};

// Past the caches; an intrinsic would have to know the vector's instruction set.
template <typename Vector>
VML_INLINE void stream_vector(float* to, const Vector& value) {
  asm volatile("vmovntps %1, %0" : "=m"(*reinterpret_cast<Vector*>(to)) : "v"(value));
}

struct BracketResult {
  BracketPlanes c;
  int64_t height, width;

  int64_t rows() const { return height; }
  template <typename Vector>
  VML_INLINE void store(int64_t i, int64_t j, const Vector& value) const {
    const Vector v = c.coefficients.alpha * value, cotangent = c.coefficients.c_out * v;
    float* const to = c.v + i * width + j;
    float* const other = c.cotangent + i * width + j;
    if (c.streamed) {
      stream_vector(to, v);
      stream_vector(other, cotangent);
    } else {
      *reinterpret_cast<Vector*>(to) = v;
      *reinterpret_cast<Vector*>(other) = cotangent;
    }
  }
};

// One block of the result: kVectors vectors of kRows rows, the first of which is row i.
template <typename Vector, int kVectors, typename Result>
VML_INLINE void multiply_block(const Result& result, const Rows& a, int64_t columns,
                               const Matrix& b, int64_t i, int64_t j) {
  constexpr int64_t kCount = sizeof(Vector) / sizeof(float);
  Vector sum[kRows][kVectors] = {};
  const int64_t b_row = b.row_stride(j);
  for (int64_t k0 = 0; k0 < columns; k0 += a.matrix.width) {
    const float* const left = a.at(k0);
    const float* const right = b.at(k0, j);
    const int64_t a_row = a.matrix.row_stride(k0);
    for (int64_t k = 0; k < a_row; ++k) {
      Vector row[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        row[v] = *reinterpret_cast<const Vector*>(right + k * b_row + v * kCount);
      }
      for (int r = 0; r < kRows; ++r) {
        const float factor = left[r * a_row + k];
        for (int v = 0; v < kVectors; ++v) sum[r][v] += factor * row[v];
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) result.store(i + r, j + v * kCount, sum[r][v]);
  }
}

// kWidth: columns of a block, as many as fill the registers.
template <typename Vector, int64_t kWidth, typename Result, typename Left>
VML_INLINE void multiply_all(const Result& result, const Left& a, const Matrix& b) {
  constexpr int kVectors = kWidth * sizeof(float) / sizeof(Vector);
  for (int64_t i = 0; i < result.rows(); i += kRows) {
    const int64_t first = std::min(i, result.rows() - kRows);  // the last block overlaps another
    const Rows rows = a.rows(first);
    for (int64_t j = 0; j < b.columns; j += kWidth) {
      const int64_t left = (b.columns - j) * kVectors / kWidth;
      if (left >= kVectors) {
        multiply_block<Vector, kVectors>(result, rows, a.columns(), b, first, j);
      } else if (left == 3) {
        multiply_block<Vector, 3>(result, rows, a.columns(), b, first, j);
      } else if (left == 2) {
        multiply_block<Vector, 2>(result, rows, a.columns(), b, first, j);
      } else {
        multiply_block<Vector, 1>(result, rows, a.columns(), b, first, j);
      }
    }
  }
}

template <typename Result, typename Left>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))) void multiply_wide(
    const Result& result, const Left& a, const Matrix& b) {
  multiply_all<Wide, kPanel>(result, a, b);
}

// Half as many registers, of half the length.
template <typename Result, typename Left>
__attribute__((target("avx2,fma"))) void multiply_narrow(const Result& result, const Left& a,
                                                         const Matrix& b) {
  multiply_all<Narrow, 16>(result, a, b);
}

bool has_wide() {
  static const bool yes = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return yes;
}

bool has_narrow() {
  static const bool yes = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return yes;
}

template <typename Result, typename Left>
void multiply_best(const Result& result, const Left& a, const Matrix& b) {
  has_wide() ? multiply_wide(result, a, b) : multiply_narrow(result, a, b);
}

}  // namespace

bool can_multiply() {
  return has_wide() || has_narrow();
}

void multiply(const Matrix& c, const Matrix& a, const Matrix& b) {
  multiply_best(MatrixResult{c}, MatrixRows{a}, b);
}

void multiply_denoised(const Matrix& c, const ImagePair& a, const Matrix& b) {
  thread_local AlignedFloats block;
  block.reserve(kRows * b.rows);
  multiply_best(MatrixResult{c}, DenoisedRows{a, b.rows, block.data()}, b);
}

void multiply_bracket(const BracketPlanes& c, const Matrix& a, const Matrix& b) {
  multiply_best(BracketResult{c, a.rows, b.columns}, MatrixRows{a}, b);
  if (c.streamed) finish_stream();
}

#else

bool can_multiply() {
  return false;
}
void multiply(const Matrix&, const Matrix&, const Matrix&) {}
void multiply_denoised(const Matrix&, const ImagePair&, const Matrix&) {}
void multiply_bracket(const BracketPlanes&, const Matrix&, const Matrix&) {}

#endif

}  // namespace vml_fast::cpu
