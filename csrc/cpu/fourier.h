// Fourier transforms of kLanes columns at a time, for lengths that are powers of two.
#pragma once

#include <cstdint>
#include <vector>

namespace vml_fast::cpu {

constexpr int64_t kLanes = 16;  // columns that are transformed together, as one vector

// What a transform of length n needs to know.
struct FourierTables {
  int64_t n;
  std::vector<float> factors;     // exp(-2 pi i j p / length) for j = 1, 2, 3, pass after pass
  std::vector<int32_t> position;  // where the forward transform leaves a frequency
};

// The tables of a power of two from 4 on; made once.
const FourierTables& fourier_tables(int64_t n);

// In place on n rows of kLanes columns, real and imaginary parts apart, without normalization:
// forward from the natural order to that of `position`, inverse from that order to the natural one.
void fourier_forward(float* re, float* im, const FourierTables& tables);
void fourier_inverse(float* re, float* im, const FourierTables& tables);

}  // namespace vml_fast::cpu
