// bfloat16 as the arithmetic sees it. It is the upper half of a float32; a number of it travels as
// its bits, so that a compiler can vectorise what is done with it.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "cpu/clones.h"

namespace vml_fast::cpu {

using BFloat16Bits = uint16_t;

VML_INLINE float value_of(BFloat16Bits bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}
VML_INLINE float value_of(float value) {
  return value;
}
VML_INLINE double value_of(double value) {
  return value;
}

// The bits of a float whose upper half is that of `value` rounded to the nearest, ties to even. For
// results of arithmetic on bfloat16 numbers and `quiet` ones: if such a value is NaN, the addition
// to its bits carries neither into the sign nor makes an infinity of it.
VML_INLINE uint32_t rounded_quiet(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return bits + 0x7FFF + ((bits >> 16) & 1);
}

// Rounded to the nearest, ties to even.
template <typename T>
struct Rounded {
  static VML_INLINE T from(T value) { return value; }
  static VML_INLINE T from_quiet(T value) { return value; }
};

template <>
struct Rounded<BFloat16Bits> {
  static VML_INLINE BFloat16Bits from(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return static_cast<BFloat16Bits>(is_nan ? 0x7FC0 : from_quiet(value));
  }

  static VML_INLINE BFloat16Bits from_quiet(float value) {
    return static_cast<BFloat16Bits>(rounded_quiet(value) >> 16);
  }
};

// The number itself, or the NaN that arithmetic makes of nothing, without a payload.
template <typename A>
inline A quiet(A value) {
  return value == value ? value : std::numeric_limits<A>::quiet_NaN();
}

}  // namespace vml_fast::cpu
