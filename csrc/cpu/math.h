// Elementary functions of float32 that a compiler can vectorise: no calls, no branches.
//
// Accurate to about one unit in the last place on the ranges stated; minimax coefficients after
// Moshier's Cephes single-precision library.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "cpu/clones.h"

namespace vml_fast::cpu {

// log(x) for normal x > 0.
VML_INLINE float log_positive(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  // The mantissa in [sqrt(1/2), sqrt(2)): shift the exponent's boundary there.
  const uint32_t shifted = bits - 0x3F3504F3u;
  const int32_t exponent = static_cast<int32_t>(shifted) >> 23;
  const float m = std::bit_cast<float>(bits - (static_cast<uint32_t>(exponent) << 23)) - 1.0f;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const float square = m * m;
  const float e = static_cast<float>(exponent);
  float tail = p * m * square;
  tail += e * -2.12194440e-4f;
  tail -= 0.5f * square;
  return m + tail + e * 0.693359375f;
}

// x between -87 and 86; NaN becomes an end. Integer minima of the bits: of comparisons of floats
// the compiler would make branches, and of those three versions of everything that follows.
VML_INLINE float bounded_exponent(float x) {
  const int32_t above = std::min(std::bit_cast<int32_t>(x), std::bit_cast<int32_t>(86.0f));
  const uint32_t below = std::min(static_cast<uint32_t>(above), std::bit_cast<uint32_t>(-87.0f));
  return std::bit_cast<float>(below);
}

// exp(x) for -87 <= x <= 86, and the value at the nearer end beyond.
VML_INLINE float exp_clamped(float x) {
  constexpr float kRounding = 12582912.0f;  // 1.5 2^23: adding it rounds to an integer
  const float bounded = bounded_exponent(x);
  const float shifted = bounded * 1.44269504088896341f + kRounding;
  const float n = shifted - kRounding;
  const float r = bounded - n * 0.693359375f - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float value = p * (r * r) + r + 1.0f;
  // n, in the lowest bits of `shifted`, is added to the exponent.
  const uint32_t power = std::bit_cast<uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) + power);
}

VML_INLINE double exp_clamped(double x) {
  return std::exp(x);
}

// The same to about 18 bits of the value, in fewer steps.
VML_INLINE float rough_exp_clamped(float x) {
  constexpr float kRounding = 12582912.0f;
  constexpr float kLog2OfE = 1.44269504088896341f;
  const float bounded = bounded_exponent(x);
  const float shifted = bounded * kLog2OfE + kRounding;
  const float n = shifted - kRounding;
  const float r = bounded * kLog2OfE - n;
  float p = 9.5701022e-3f;  // 2^r for |r| <= 1/2, of least relative error
  p = p * r + 5.5917863e-2f;
  p = p * r + 2.4024744e-1f;
  p = p * r + 6.9312179e-1f;
  p = p * r + 9.9999928e-1f;
  const uint32_t power = std::bit_cast<uint32_t>(shifted) << 23;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(p) + power);
}

// 1 / x for 1 <= x <= 2^125, to about two units in the last place: Newton's iteration from a guess
// in the exponent's bits. It shares the multipliers with the rest of a loop, where a vector
// division would block one of them for many cycles.
template <int kSteps = 3>
VML_INLINE float reciprocal(float x) {
  float r = std::bit_cast<float>(0x7EF31000u - std::bit_cast<uint32_t>(x));  // 5 % at most
  for (int i = 0; i < kSteps; ++i) r *= 2.0f - x * r;                        // the error's square
  return r;
}

template <int kSteps = 3>
VML_INLINE double reciprocal(double x) {
  return 1.0 / x;
}

struct SineCosine {
  float sine, cosine;
};

// Sine and cosine of 2 pi k / 2^24 for 0 <= k < 2^24; the quarter is found in integers, exactly.
VML_INLINE SineCosine turn(uint32_t k) {
  const uint32_t quarter = (k + (1u << 21)) >> 22;
  const float r = static_cast<float>(static_cast<int32_t>(k - (quarter << 22))) *
                  3.74507009e-7f;  // 2 pi / 2^24
  const float z = r * r;
  float s = -1.9515295891e-4f;
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * r + r;
  float c = 2.443315711809948e-5f;
  c = c * z - 1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = c * z * z - 0.5f * z + 1.0f;
  const bool swap = (quarter & 1) != 0;
  const float sine = swap ? c : s;
  const float cosine = swap ? s : c;
  return {(quarter & 2) != 0 ? -sine : sine, ((quarter + 1) & 2) != 0 ? -cosine : cosine};
}

}  // namespace vml_fast::cpu
