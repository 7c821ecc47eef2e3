// Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller, as specified in vml_fast/ops/philox.py.
//
// One function per block of four numbers, plain enough to run in a vector lane or a GPU thread. The
// integers are the same everywhere; the normals differ by roundings of float32.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/coefficients.h"

namespace vml_fast {

struct PhiloxKey {
  uint32_t key[2];     // seed, low and high half
  uint32_t draw;       // second word of the counter
  uint32_t sample[2];  // third and fourth
};

VML_HOST_DEVICE PhiloxKey philox_key(int64_t seed, int64_t sample, int64_t draw) {
  return {
      {static_cast<uint32_t>(seed), static_cast<uint32_t>(static_cast<uint64_t>(seed) >> 32)},
      static_cast<uint32_t>(draw),
      {static_cast<uint32_t>(sample), static_cast<uint32_t>(static_cast<uint64_t>(sample) >> 32)}};
}

// words[0..3] of block `block`: the elements 4 block ... 4 block + 3.
VML_HOST_DEVICE void philox(uint32_t block, const PhiloxKey& key, uint32_t words[4]) {
  uint32_t c0 = block, c1 = key.draw, c2 = key.sample[0], c3 = key.sample[1];
  uint32_t k0 = key.key[0], k1 = key.key[1];
#if defined(__CUDA_ARCH__) || defined(__clang__)
#pragma unroll
#elif !defined(__CUDACC__)
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0;
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  words[0] = c0;
  words[1] = c1;
  words[2] = c2;
  words[3] = c3;
}

}  // namespace vml_fast
