// What the brackets share: coefficients of a sample, and the network's cotangent.
#pragma once

#include "common/coefficients.h"
#include "cuda/image.cuh"
#include "cuda/kernels.h"

namespace vml_fast::cuda {

__device__ __forceinline__ Coefficients coefficients_of(const Table& table, int64_t b) {
  return load_coefficients(table.data + b * table.row, table.column);
}

// v and c_out v.
__device__ __forceinline__ void finish_bracket(const Coefficients& c, float v, float (&out)[2]) {
  out[0] = v;
  out[1] = c.c_out * v;
}

}  // namespace vml_fast::cuda
