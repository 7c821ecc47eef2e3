// Stores past the caches, for results that they could not hold until somebody reads them: memory
// need not be read before it is overwritten.
#pragma once

#include <cstdint>

#include "cpu/clones.h"
#include "cpu/memory.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace vml_fast::cpu {

#if defined(__x86_64__)

constexpr int64_t kStreamed = 4;  // floats of a store

// `to` must be one that can_stream takes, or kStreamed floats and more behind it.
VML_INLINE void stream(float* to, const float* from) {
  _mm_stream_ps(to, _mm_loadu_ps(from));
}

// Other threads see what was stored before.
inline void finish_stream() {
  _mm_sfence();
}

// From a cache line's first float on: parts of lines would be read again.
inline bool can_stream(const float* to) {
  return reinterpret_cast<uintptr_t>(to) % kLine == 0;
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
