// A bracket in the singular vectors of small separable factors, plane by plane.
#pragma once

#include "cpu/memory.h"
#include "cpu/plane_operand.h"
#include "cpu/product.h"

namespace vml_fast::cpu {

// z <- alpha (target - s z)
struct PlaneFilter {
  PlaneOperand target, s, alpha;

  void operator()(const Matrix& z) const;
};

// V_r, V_c and their transposes as the products read them.
class SmallFactors {
 public:
  SmallFactors(const Tensor& rows_v, const Tensor& columns_v);

  // Whether the factors fit the second-level cache beside a plane, in sizes that are multiplied.
  static bool take(const Tensor& rows_v, const Tensor& columns_v);

  // v = scale V_r filter(V_r^T D V_c) V_c^T and c_out v.
  void bracket(const BracketPlanes& results, const ImagePair& images,
               const PlaneFilter& filter) const;

 private:
  int64_t height_, rank_h_, width_, rank_w_;
  mutable AlignedFloats memory_;
  Matrix rows_, rows_t_, columns_, columns_t_;
};

}  // namespace vml_fast::cpu
