#include "cpu/convert.h"

#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>

#include "cpu/clones.h"
#include "cpu/element.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vml_fast::cpu {

using torch::headeronly::Half;

namespace {

template <typename T>
struct Element {
  static VML_INLINE float load(T value) { return static_cast<float>(value); }
  static VML_INLINE T store(float value) { return static_cast<T>(value); }
};

template <>
struct Element<BFloat16Bits> {
  static VML_INLINE float load(BFloat16Bits bits) { return value_of(bits); }
  static VML_INLINE BFloat16Bits store(float value) { return Rounded<BFloat16Bits>::from(value); }
};

template <>
struct Element<bool> {  // masks: any non-zero byte is observed
  static VML_INLINE float load(uint8_t byte) { return byte != 0 ? 1.0f : 0.0f; }
};

// Small constant strides (an interleaved image of two to four channels) become shuffles.
template <typename E, typename T>
VML_INLINE void load_any(float* VML_RESTRICT to, const T* VML_RESTRICT from, int64_t stride,
                         int64_t n) {
  switch (stride) {
    case 1:
      for (int64_t i = 0; i < n; ++i) to[i] = E::load(from[i]);
      break;
    case 3:
      for (int64_t i = 0; i < n; ++i) to[i] = E::load(from[3 * i]);
      break;
    case 4:
      for (int64_t i = 0; i < n; ++i) to[i] = E::load(from[4 * i]);
      break;
    default:
      for (int64_t i = 0; i < n; ++i) to[i] = E::load(from[stride * i]);
  }
}

template <typename E, typename T>
VML_INLINE void store_any(T* VML_RESTRICT to, int64_t stride, const float* VML_RESTRICT from,
                          int64_t n) {
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) to[i] = E::store(from[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) to[stride * i] = E::store(from[i]);
  }
}

#if defined(__x86_64__)

// The compiler does not vectorise float16 without AVX512-FP16; these two loops say how.
__attribute__((target("f16c,avx"))) void load_half_f16c(float* to, const Half* from, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i));
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(bits));
  }
  for (; i < n; ++i) to[i] = static_cast<float>(from[i]);
}

__attribute__((target("f16c,avx"))) void store_half_f16c(Half* to, const float* from, int64_t n) {
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i bits = _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i), bits);
  }
  for (; i < n; ++i) to[i] = static_cast<Half>(from[i]);
}

bool has_f16c() {
  static const bool yes = __builtin_cpu_supports("avx") && __builtin_cpu_supports("f16c");
  return yes;
}

#else

bool has_f16c() {
  return false;
}
void load_half_f16c(float*, const Half*, int64_t) {}
void store_half_f16c(Half*, const float*, int64_t) {}

#endif

}  // namespace

VML_CLONES void load_float(float* to, const float* from, int64_t stride, int64_t n) {
  load_any<Element<float>>(to, from, stride, n);
}

VML_CLONES void load_double(float* to, const double* from, int64_t stride, int64_t n) {
  load_any<Element<double>>(to, from, stride, n);
}

VML_CLONES void load_bfloat16(float* to, const BFloat16Bits* from, int64_t stride, int64_t n) {
  load_any<Element<BFloat16Bits>>(to, from, stride, n);
}

VML_CLONES void load_byte(float* to, const uint8_t* from, int64_t stride, int64_t n) {
  load_any<Element<bool>>(to, from, stride, n);
}

void load_half(float* to, const Half* from, int64_t stride, int64_t n) {
  if (stride == 1 && has_f16c()) {
    load_half_f16c(to, from, n);
  } else {
    load_any<Element<Half>>(to, from, stride, n);
  }
}

VML_CLONES void store_float(float* to, int64_t stride, const float* from, int64_t n) {
  store_any<Element<float>>(to, stride, from, n);
}

VML_CLONES void store_double(double* to, int64_t stride, const float* from, int64_t n) {
  store_any<Element<double>>(to, stride, from, n);
}

VML_CLONES void store_bfloat16(BFloat16Bits* to, int64_t stride, const float* from, int64_t n) {
  store_any<Element<BFloat16Bits>>(to, stride, from, n);
}

void store_half(Half* to, int64_t stride, const float* from, int64_t n) {
  if (stride == 1 && has_f16c()) {
    store_half_f16c(to, from, n);
  } else {
    store_any<Element<Half>>(to, stride, from, n);
  }
}

void load_floats(float* to, const void* from, int64_t stride, int64_t n, ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return load_float(to, static_cast<const float*>(from), stride, n);
    case ScalarType::BFloat16:
      return load_bfloat16(to, static_cast<const BFloat16Bits*>(from), stride, n);
    case ScalarType::Half:
      return load_half(to, static_cast<const Half*>(from), stride, n);
    case ScalarType::Double:
      return load_double(to, static_cast<const double*>(from), stride, n);
    case ScalarType::Bool:
    case ScalarType::Byte:
      return load_byte(to, static_cast<const uint8_t*>(from), stride, n);
    default:
      STD_TORCH_CHECK(false, "unsupported element type");
  }
}

void store_floats(void* to, int64_t stride, const float* from, int64_t n, ScalarType type) {
  switch (type) {
    case ScalarType::Float:
      return store_float(static_cast<float*>(to), stride, from, n);
    case ScalarType::BFloat16:
      return store_bfloat16(static_cast<BFloat16Bits*>(to), stride, from, n);
    case ScalarType::Half:
      return store_half(static_cast<Half*>(to), stride, from, n);
    case ScalarType::Double:
      return store_double(static_cast<double*>(to), stride, from, n);
    default:
      STD_TORCH_CHECK(false, "unsupported element type");
  }
}

int64_t size_of(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
      return 8;
    case ScalarType::Float:
      return 4;
    case ScalarType::BFloat16:
    case ScalarType::Half:
      return 2;
    default:
      return 1;
  }
}

}  // namespace vml_fast::cpu
