// Stores past the caches, for results that they could not hold until somebody reads them: memory
// need not be read before it is overwritten.
#pragma once

#include <cstdint>

#include "cpu/clones.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vml_fast::cpu {

#if defined(__x86_64__)

constexpr int64_t kStreamed = 4;  // floats of a store

// `to` must be aligned to kStreamed floats.
VML_INLINE void stream(float* to, const float* from) {
  _mm_stream_ps(to, _mm_loadu_ps(from));
}

// Other threads see what was stored before.
inline void finish_stream() {
  _mm_sfence();
}

inline bool can_stream(const float* to) {
  return reinterpret_cast<uintptr_t>(to) % (kStreamed * sizeof(float)) == 0;
}

#else

constexpr int64_t kStreamed = 1;

VML_INLINE void stream(float* to, const float* from) {
  *to = *from;
}
inline void finish_stream() {}
inline bool can_stream(const float*) {
  return false;
}

#endif

}  // namespace vml_fast::cpu
