// The vectorised loops of GroupNorm + SiLU, for every type and both memory formats.
//
// A line is a stretch of one channel's plane: its constants are scalars. Rows are pixels of a
// channels-last image: every lane (channel) has constants of its own.
#pragma once

#include <cstdint>

#include "cpu/element.h"

namespace vml_fast::cpu {

// Row r starts at r * lanes.
struct Rows {
  int64_t count, lanes;
};

// z = (x - mean) gain + offset, with constants per lane.
template <typename A>
struct Affine {
  const A* mean;
  const A* gain;
  const A* offset;
};

// The same with scalars.
template <typename A>
struct Line {
  A mean, gain, offset;
};

// Two sums over lines, in many parts so that additions overlap.
constexpr int kParts = 32;
template <typename A>
struct Parts {
  A first[kParts], second[kParts];
};

// A: arithmetic type. T: type of the tensors, which is A or bfloat16.
#define VML_DECLARE_LOOPS(A, T)                                                                 \
  /* sum += x - shift, square += (x - shift)^2 */                                               \
  void moments(A* sum, A* square, const T* x, const A* shift, Rows rows);                       \
  void line_moments(Parts<A>& sums, const T* x, A shift, int64_t n);                            \
  /* y = z, or silu(z); elements `ahead` of these are wanted next */                            \
  void apply(T* y, const T* x, Affine<A> a, Rows rows, bool activation);                        \
  void line_apply(T* y, const T* x, Line<A> a, int64_t n, int64_t ahead, bool activation);      \
  /* dz = gradient, or gradient silu'(z); sum += dz, product += dz (x - mean) */                \
  void through_silu(A* dz, A* sum, A* product, const T* gradient, const T* x, Affine<A> a,      \
                    Rows rows, bool activation);                                                \
  /* the same times `weight`; only line_input_gradient knows the order of dz */                 \
  void line_through_silu(A* dz, Parts<A>& sums, const T* gradient, const T* x, Line<A> a,       \
                         A weight, int64_t n, bool activation);                                 \
  /* dx = gain dz - constant - slope (x - mean) */                                              \
  void input_gradient(T* dx, const A* dz, const T* x, Affine<A> a, const A* constant,           \
                      const A* slope, Rows rows);                                               \
  void line_input_gradient(T* dx, const A* dz, const T* x, A mean, A gain, A constant, A slope, \
                           int64_t n);

VML_DECLARE_LOOPS(float, float)
VML_DECLARE_LOOPS(float, BFloat16Bits)
VML_DECLARE_LOOPS(double, double)
#undef VML_DECLARE_LOOPS

}  // namespace vml_fast::cpu
