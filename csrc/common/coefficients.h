// The packed per-sample scalars of one noise level and the arithmetic that every bracket shares.
#pragma once

#ifdef __CUDACC__
#define VML_HOST_DEVICE __host__ __device__ __forceinline__
#else
// Always inlined: a function compiled for several instruction sets must not call one that was
// compiled for the oldest.
#define VML_HOST_DEVICE inline __attribute__((always_inline))
#endif

namespace vml_fast {

// Columns of the (B, 5) coefficients tensor, in order.
struct Coefficients {
  float c_skip, c_out, alpha, beta, beta_null;

  VML_HOST_DEVICE float denoised(float raw, float x) const { return c_skip * x + c_out * raw; }
};

// One row of the tensor; strides are zero where one row or column serves all.
VML_HOST_DEVICE Coefficients load_coefficients(const float* row, long long stride) {
  return {row[0], row[stride], row[2 * stride], row[3 * stride], row[4 * stride]};
}

}  // namespace vml_fast
