// The vectorised loops of GroupNorm + SiLU over rows of lanes (see lanes.h), in both precisions.
#pragma once

#include <cstdint>

namespace vml_fast::cpu {

// Row r starts at r * lanes; all loops run over `lanes` adjacent elements with constants per lane.
struct Rows {
  int64_t count, lanes;
};

// z = (x - mean) gain + offset.
template <typename A>
struct Affine {
  const A* mean;
  const A* gain;
  const A* offset;
};

#define VML_DECLARE_LOOPS(A)                                                                 \
  /* sum += x - shift, square += (x - shift)^2 */                                            \
  void moments(A* sum, A* square, const A* x, const A* shift, Rows rows);                    \
  /* y = z, or silu(z) */                                                                    \
  void apply(A* y, const A* x, Affine<A> a, Rows rows, bool activation);                     \
  /* gradient *= silu'(z) */                                                                 \
  void through_silu(A* gradient, const A* x, Affine<A> a, Rows rows);                        \
  /* sum += dz, product += dz (x - mean) */                                                  \
  void gradient_sums(A* sum, A* product, const A* dz, const A* x, const A* mean, Rows rows); \
  /* dz = gain dz - constant - slope (x - mean) */                                           \
  void input_gradient(A* dz, const A* x, Affine<A> a, const A* constant, const A* slope, Rows rows);

VML_DECLARE_LOOPS(float)
VML_DECLARE_LOOPS(double)
#undef VML_DECLARE_LOOPS

}  // namespace vml_fast::cpu
