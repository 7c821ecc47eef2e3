// Fast Walsh-Hadamard transform along the last dimension, orthonormal, natural order.
//
// Every level of butterflies pairs the elements whose indices differ in one bit. A pass reads and
// writes every element once and does the levels of up to 14 bits: a block holds a tile of 2^12
// (to 2^14) elements, a thread 16 of them in registers. A round of a pass does the levels of the
// four index bits in which the elements of a thread differ; between rounds the tile goes through
// shared memory. Rows of up to 2^14 need one pass, of up to 2^20 two: the first one along whole
// rows of 2^12, the others along columns 2^12 (2^20) apart, in tiles of neighboring columns.
#include <cmath>

#include "cuda/kernels.h"
#include "cuda/launch.cuh"

namespace vml_fast::cuda {

namespace {

constexpr int kHeldBits = 4;
constexpr int kHeld = 1 << kHeldBits;  // elements of a thread
constexpr int kTileBits = 12;
constexpr int kMostTileBits = 14;
constexpr int kMostRounds = 6;

// Threads hold elements that differ in the four index bits from `low` on; `levels` says which of
// those bits this round transforms.
struct Round {
  int low;
  unsigned levels;
};

// A tile is 2^(tile_bits - column_bits) places along the transform, 2^inner_bits elements apart in
// memory, times 2^column_bits neighbors. Where the transform is along adjacent elements,
// column_bits = tile_bits: a tile is adjacent, and holds pieces of one or more rows.
struct Pass {
  int64_t elements;
  int tile_bits, column_bits, inner_bits;
  float scale;
  int rounds;
  Round round[kMostRounds];
};

// Index in the tile of the first element of a thread: its number, with a gap for the held bits.
__device__ __forceinline__ uint32_t first_element(const Round& round) {
  const uint32_t below = threadIdx.x & ((1u << round.low) - 1);
  return below + ((threadIdx.x - below) << kHeldBits);
}

// One word of padding per 32: threads that hold neighbors hit different banks.
__device__ __forceinline__ uint32_t padded(uint32_t element) {
  return element + element / 32;
}

__device__ __forceinline__ void butterflies(float (&value)[kHeld], unsigned levels) {
#pragma unroll
  for (int bit = 0; bit < kHeldBits; ++bit) {
    if ((levels >> bit & 1) == 0) continue;
#pragma unroll
    for (int r = 0; r < kHeld; ++r) {
      const int other = r | 1 << bit;
      if (r == other) continue;
      const float a = value[r], b = value[other];
      value[r] = a + b;
      value[other] = a - b;
    }
  }
}

__device__ __forceinline__ void exchange(float (&value)[kHeld], const Round& from, const Round& to,
                                         float* tile) {
  const uint32_t write = first_element(from), read = first_element(to);
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kHeld; ++r) tile[padded(write + (r << from.low))] = value[r];
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kHeld; ++r) value[r] = tile[padded(read + (r << to.low))];
}

// Where the tile of this block starts in memory.
__device__ __forceinline__ int64_t tile_start(const Pass& pass) {
  const int64_t tile = blockIdx.x;
  const int64_t column_tiles_bits = pass.inner_bits - pass.column_bits;
  if (column_tiles_bits <= 0) return tile << pass.tile_bits;
  const int64_t row = tile >> column_tiles_bits;
  const int64_t column_tile = tile & ((int64_t{1} << column_tiles_bits) - 1);
  return (row << (pass.tile_bits - pass.column_bits + pass.inner_bits)) +
         (column_tile << pass.column_bits);
}

__device__ __forceinline__ int64_t place_of(const Pass& pass, int64_t start, uint32_t element) {
  const uint32_t column = element & ((1u << pass.column_bits) - 1);
  return start + (int64_t{element >> pass.column_bits} << pass.inner_bits) + column;
}

__global__ void __launch_bounds__(1 << (kMostTileBits - kHeldBits))
    transform_tile(const float* from, float* to, const __grid_constant__ Pass pass) {
  VML_DYNAMIC_SHARED(float, tile);
  const int64_t start = tile_start(pass);
  float value[kHeld];
  const Round first = pass.round[0];
#pragma unroll
  for (int r = 0; r < kHeld; ++r) {
    const int64_t place = place_of(pass, start, first_element(first) + (r << first.low));
    value[r] = place < pass.elements ? pass.scale * from[place] : 0.0f;
  }
  butterflies(value, first.levels);
  for (int k = 1; k < pass.rounds; ++k) {
    exchange(value, pass.round[k - 1], pass.round[k], tile);
    butterflies(value, pass.round[k].levels);
  }
  const Round last = pass.round[pass.rounds - 1];
#pragma unroll
  for (int r = 0; r < kHeld; ++r) {
    const int64_t place = place_of(pass, start, first_element(last) + (r << last.low));
    if (place < pass.elements) to[place] = value[r];
  }
}

// Adds a round that holds the bits from `low` on and transforms those in [begin, end).
void add_round(Pass& pass, int low, int begin, int end) {
  unsigned levels = 0;
  for (int bit = 0; bit < kHeldBits; ++bit) {
    if (low + bit >= begin && low + bit < end) levels |= 1u << bit;
  }
  pass.round[pass.rounds++] = {low, levels};
}

// The rounds for the levels [begin, end) of a tile's index. The first and the last one hold high
// bits, so that neighboring threads read and write neighbors in memory.
void plan_rounds(Pass& pass, int begin, int end) {
  const int top = pass.tile_bits - kHeldBits;
  add_round(pass, top, begin, end);
  const int rest = std::min(end, top);
  for (int low = begin; low < rest; low += kHeldBits) {
    add_round(pass, std::min(low, top), low, rest);
  }
  if (pass.round[pass.rounds - 1].low < kHeldBits) add_round(pass, top, 0, 0);
}

void run_pass(const float* from, float* to, const Pass& pass, Stream stream) {
  const int64_t size = int64_t{1} << pass.tile_bits;
  const int64_t tiles = (pass.elements + size - 1) / size;
  check_blocks(tiles);
  launch(stream,
         {.grid = dim3(static_cast<unsigned>(tiles)),
          .threads = static_cast<unsigned>(size / kHeld),
          .shared = static_cast<size_t>(size + size / 32) * sizeof(float)},
         &transform_tile, from, to, pass);
}

}  // namespace

void launch_fwht(const float* from, float* to, int64_t elements, int bits, Stream stream) {
  const int first_bits = bits <= kMostTileBits ? bits : kTileBits;
  Pass first{};
  first.elements = elements;
  first.tile_bits = first.column_bits = std::max(kTileBits, first_bits);
  first.scale = static_cast<float>(1.0 / std::sqrt(std::ldexp(1.0, bits)));
  plan_rounds(first, 0, first_bits);
  run_pass(from, to, first, stream);
  constexpr int kMostLevels = 8;  // of a pass along columns: 16 neighbors are two sectors of memory
  for (int done = first_bits; done < bits;) {
    const int levels = std::min(bits - done, kMostLevels);
    Pass pass{};
    pass.elements = elements;
    pass.tile_bits = kTileBits;
    pass.column_bits = kTileBits - levels;
    pass.inner_bits = done;
    pass.scale = 1.0f;
    plan_rounds(pass, pass.column_bits, kTileBits);
    run_pass(to, to, pass, stream);
    done += levels;
  }
}

}  // namespace vml_fast::cuda
