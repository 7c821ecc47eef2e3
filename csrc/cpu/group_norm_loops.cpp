#include "cpu/group_norm_loops.h"

#include "cpu/clones.h"
#include "cpu/math.h"

namespace vml_fast::cpu {

namespace {

template <typename A>
VML_INLINE A sigmoid(A z) {
  return reciprocal(A(1) + exp_clamped(-z));
}

template <typename A>
VML_INLINE A silu_gradient(A z) {
  const A s = sigmoid(z);
  return s * (A(1) + z * (A(1) - s));
}

// --- rows of a channels-last image ---------------------------------------------------------------

template <typename A, typename T>
VML_INLINE void moments_rows(A* VML_RESTRICT sum, A* VML_RESTRICT square, const T* VML_RESTRICT x,
                             const A* VML_RESTRICT shift, Rows rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[r * rows.lanes + i]) - shift[i];
      sum[i] += d;
      square[i] += d * d;
    }
  }
}

template <bool kActivation, typename A, typename T>
VML_INLINE void apply_rows(T* VML_RESTRICT y, const T* VML_RESTRICT x, Affine<A> a, Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A z = (value_of(x[start + i]) - mean[i]) * gain[i] + offset[i];
      y[start + i] = Rounded<T>::from(kActivation ? z * sigmoid(z) : z);
    }
  }
}

template <bool kActivation, typename A, typename T>
VML_INLINE void through_silu_rows(A* VML_RESTRICT dz, A* VML_RESTRICT sum, A* VML_RESTRICT product,
                                  const T* VML_RESTRICT gradient, const T* VML_RESTRICT x,
                                  Affine<A> a, Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[start + i]) - mean[i];
      const A slope = kActivation ? silu_gradient(d * gain[i] + offset[i]) : A(1);
      const A value = value_of(gradient[start + i]) * slope;
      dz[start + i] = value;
      sum[i] += value;
      product[i] += value * d;
    }
  }
}

template <typename A, typename T>
VML_INLINE void input_gradient_rows(T* VML_RESTRICT dx, const A* VML_RESTRICT dz,
                                    const T* VML_RESTRICT x, Affine<A> a,
                                    const A* VML_RESTRICT constant, const A* VML_RESTRICT slope,
                                    Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[start + i]) - mean[i];
      dx[start + i] = Rounded<T>::from(gain[i] * dz[start + i] - constant[i] - slope[i] * d);
    }
  }
}

// --- lines of a plane ----------------------------------------------------------------------------

// Calls f(index, its part) for n indices; kParts at a time become vectors.
template <typename F>
VML_INLINE void in_parts(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts) {
    for (int k = 0; k < kParts; ++k) f(i + k, k);
  }
  for (int k = 0; i + k < n; ++k) f(i + k, k);
}

template <typename A, typename T>
VML_INLINE void moments_line(Parts<A>& VML_RESTRICT sums, const T* VML_RESTRICT x, A shift,
                             int64_t n) {
  Parts<A> parts = sums;
  in_parts(n, [&](int64_t i, int k) __attribute__((always_inline)) {
    const A d = value_of(x[i]) - shift;
    parts.first[k] += d;
    parts.second[k] += d * d;
  });
  sums = parts;
}

template <bool kActivation, typename A, typename T>
VML_INLINE void apply_line(T* VML_RESTRICT y, const T* VML_RESTRICT x, Line<A> a, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const A z = (value_of(x[i]) - a.mean) * a.gain + a.offset;
    y[i] = Rounded<T>::from(kActivation ? z * sigmoid(z) : z);
  }
}

template <bool kActivation, typename A, typename T>
VML_INLINE void through_silu_line(A* VML_RESTRICT dz, Parts<A>& VML_RESTRICT sums,
                                  const T* VML_RESTRICT gradient, const T* VML_RESTRICT x,
                                  Line<A> a, A weight, int64_t n) {
  Parts<A> parts = sums;
  in_parts(n, [&](int64_t i, int k) __attribute__((always_inline)) {
    const A d = value_of(x[i]) - a.mean;
    const A slope = kActivation ? weight * silu_gradient(d * a.gain + a.offset) : weight;
    const A value = value_of(gradient[i]) * slope;
    dz[i] = value;
    parts.first[k] += value;
    parts.second[k] += value * d;
  });
  sums = parts;
}

template <typename A, typename T>
VML_INLINE void input_gradient_line(T* VML_RESTRICT dx, const A* VML_RESTRICT dz,
                                    const T* VML_RESTRICT x, A mean, A gain, A constant, A slope,
                                    int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    dx[i] = Rounded<T>::from(gain * dz[i] - constant - slope * (value_of(x[i]) - mean));
  }
}

}  // namespace

// Named entry points for every type, compiled for every instruction set.
#define VML_FOR_TYPES(A, T)                                                                       \
  VML_CLONES void moments(A* sum, A* square, const T* x, const A* shift, Rows rows) {             \
    moments_rows(sum, square, x, shift, rows);                                                    \
  }                                                                                               \
  VML_CLONES void line_moments(Parts<A>& sums, const T* x, A shift, int64_t n) {                  \
    moments_line(sums, x, shift, n);                                                              \
  }                                                                                               \
  VML_CLONES void apply(T* y, const T* x, Affine<A> a, Rows rows, bool activation) {              \
    activation ? apply_rows<true>(y, x, a, rows) : apply_rows<false>(y, x, a, rows);              \
  }                                                                                               \
  VML_CLONES void line_apply(T* y, const T* x, Line<A> a, int64_t n, bool activation) {           \
    activation ? apply_line<true>(y, x, a, n) : apply_line<false>(y, x, a, n);                    \
  }                                                                                               \
  VML_CLONES void through_silu(A* dz, A* sum, A* product, const T* gradient, const T* x,          \
                               Affine<A> a, Rows rows, bool activation) {                         \
    activation ? through_silu_rows<true>(dz, sum, product, gradient, x, a, rows)                  \
               : through_silu_rows<false>(dz, sum, product, gradient, x, a, rows);                \
  }                                                                                               \
  VML_CLONES void line_through_silu(A* dz, Parts<A>& sums, const T* gradient, const T* x,         \
                                    Line<A> a, A weight, int64_t n, bool activation) {            \
    activation ? through_silu_line<true>(dz, sums, gradient, x, a, weight, n)                     \
               : through_silu_line<false>(dz, sums, gradient, x, a, weight, n);                   \
  }                                                                                               \
  VML_CLONES void input_gradient(T* dx, const A* dz, const T* x, Affine<A> a, const A* constant,  \
                                 const A* slope, Rows rows) {                                     \
    input_gradient_rows(dx, dz, x, a, constant, slope, rows);                                     \
  }                                                                                               \
  VML_CLONES void line_input_gradient(T* dx, const A* dz, const T* x, A mean, A gain, A constant, \
                                      A slope, int64_t n) {                                       \
    input_gradient_line(dx, dz, x, mean, gain, constant, slope, n);                               \
  }

VML_FOR_TYPES(float, float)
VML_FOR_TYPES(float, BFloat16Bits)
VML_FOR_TYPES(double, double)
#undef VML_FOR_TYPES

}  // namespace vml_fast::cpu
