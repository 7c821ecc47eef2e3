#include "cpu/group_norm_loops.h"

#include "cpu/clones.h"
#include "cpu/math.h"

namespace vml_fast::cpu {

namespace {

template <typename A>
VML_INLINE A sigmoid(A z) {
  return A(1) / (A(1) + exp_clamped(-z));
}

template <typename A>
VML_INLINE void moments_rows(A* VML_RESTRICT sum, A* VML_RESTRICT square, const A* VML_RESTRICT x,
                             const A* VML_RESTRICT shift, Rows rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = x[r * rows.lanes + i] - shift[i];
      sum[i] += d;
      square[i] += d * d;
    }
  }
}

template <typename A>
VML_INLINE void apply_rows(A* VML_RESTRICT y, const A* VML_RESTRICT x, Affine<A> a, Rows rows,
                           bool activation) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    if (activation) {
      for (int64_t i = 0; i < rows.lanes; ++i) {
        const A z = (x[start + i] - mean[i]) * gain[i] + offset[i];
        y[start + i] = z * sigmoid(z);
      }
    } else {
      for (int64_t i = 0; i < rows.lanes; ++i) {
        y[start + i] = (x[start + i] - mean[i]) * gain[i] + offset[i];
      }
    }
  }
}

// gradient silu'(z), in place of the gradient.
template <typename A>
VML_INLINE void through_silu_rows(A* VML_RESTRICT gradient, const A* VML_RESTRICT x, Affine<A> a,
                                  Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A z = (x[start + i] - mean[i]) * gain[i] + offset[i];
      const A s = sigmoid(z);
      gradient[start + i] *= s * (A(1) + z * (A(1) - s));
    }
  }
}

// Sums of dz and dz (x - mean) per lane.
template <typename A>
VML_INLINE void gradient_sums_rows(A* VML_RESTRICT sum, A* VML_RESTRICT product,
                                   const A* VML_RESTRICT dz, const A* VML_RESTRICT x,
                                   const A* VML_RESTRICT mean, Rows rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      sum[i] += dz[start + i];
      product[i] += dz[start + i] * (x[start + i] - mean[i]);
    }
  }
}

// dx = gain dz - constant - slope (x - mean), in place of dz.
template <typename A>
VML_INLINE void input_gradient_rows(A* VML_RESTRICT dz, const A* VML_RESTRICT x, Affine<A> a,
                                    const A* VML_RESTRICT constant, const A* VML_RESTRICT slope,
                                    Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = x[start + i] - mean[i];
      dz[start + i] = gain[i] * dz[start + i] - constant[i] - slope[i] * d;
    }
  }
}

}  // namespace

// Named entry points in both precisions, compiled for every instruction set.
#define VML_FOR_PRECISION(A)                                                                \
  VML_CLONES void moments(A* sum, A* square, const A* x, const A* shift, Rows rows) {       \
    moments_rows(sum, square, x, shift, rows);                                              \
  }                                                                                         \
  VML_CLONES void apply(A* y, const A* x, Affine<A> a, Rows rows, bool activation) {        \
    apply_rows(y, x, a, rows, activation);                                                  \
  }                                                                                         \
  VML_CLONES void through_silu(A* gradient, const A* x, Affine<A> a, Rows rows) {           \
    through_silu_rows(gradient, x, a, rows);                                                \
  }                                                                                         \
  VML_CLONES void gradient_sums(A* sum, A* product, const A* dz, const A* x, const A* mean, \
                                Rows rows) {                                                \
    gradient_sums_rows(sum, product, dz, x, mean, rows);                                    \
  }                                                                                         \
  VML_CLONES void input_gradient(A* dz, const A* x, Affine<A> a, const A* constant,         \
                                 const A* slope, Rows rows) {                               \
    input_gradient_rows(dz, x, a, constant, slope, rows);                                   \
  }

VML_FOR_PRECISION(float)
VML_FOR_PRECISION(double)
#undef VML_FOR_PRECISION

}  // namespace vml_fast::cpu
