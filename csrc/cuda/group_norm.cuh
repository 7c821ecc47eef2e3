// How GroupNorm cuts images, and sums over groups.
//
// A cluster of blocks works on a tile: whole groups of one sample. Each block takes a part of the
// tile, so that tiles of any size need one launch: the blocks exchange their sums, then look at
// their parts a second time, from the end: what was read last is still in the caches.
#pragma once

#include "cuda/cluster.cuh"
#include "cuda/image.cuh"
#include "cuda/kernels.h"

namespace vml_fast::cuda {

// A unit is what an access (below) counts: a vector, a pixel with the channels of the tile, or an
// element.
struct NormTiling {
  uint32_t channels, pixels, columns;
  uint32_t per_group;         // channels of a group
  uint32_t width, tiles;      // channels of a tile (the last one may have less), tiles of a sample
  uint32_t units, per_block;  // of a tile, of a block at most
  bool channels_fastest;      // the order of elements, for Strided
};

// The part of this block.
struct NormPart {
  int64_t b;
  uint32_t first, width;  // channels
  uint32_t begin, end;    // units

  __device__ __forceinline__ explicit NormPart(const NormTiling& tiling) {
    const uint32_t index = blockIdx.x / cluster_size();
    b = index / tiling.tiles;
    first = index % tiling.tiles * tiling.width;
    width = std::min(tiling.width, tiling.channels - first);
    begin = std::min(tiling.units, cluster_rank() * tiling.per_block);
    end = begin + units_of(tiling, cluster_rank());
  }

  // How many units the block of that rank has.
  static __device__ __forceinline__ uint32_t units_of(const NormTiling& tiling, unsigned rank) {
    const uint32_t begin = std::min(tiling.units, rank * tiling.per_block);
    return std::min(tiling.units - begin, tiling.per_block);
  }
};

// The three ways in which the threads of a block walk through its part. In each of its `steps` a
// thread loads or stores kValues numbers; channel(k) is that of the first one, counted from the
// first of the tile. A unit has per_unit numbers of each group.

// Dense planar images: a tile is one group, a unit is a vector of neighboring pixels.
template <typename T>
struct Planar {
  using Real = float;
  static constexpr int kValues = kVector;
  static constexpr bool kManyGroups = false;

  int64_t start;
  uint32_t first, steps, vectors_of_channel;

  __device__ __forceinline__ Planar(const NormTiling& tiling, const NormPart& part)
      : start((part.b * tiling.channels + part.first) * tiling.pixels),
        first(part.begin + threadIdx.x),
        steps(first < part.end ? (part.end - first + blockDim.x - 1) / blockDim.x : 0),
        vectors_of_channel(tiling.pixels / kVector) {}

  static __device__ __forceinline__ uint32_t per_unit(const NormTiling&) { return kVector; }
  __device__ __forceinline__ uint32_t channel(uint32_t k) const {
    return (first + k * blockDim.x) / vectors_of_channel;
  }
  __device__ __forceinline__ int64_t offset(uint32_t k) const {
    return start + int64_t{first + k * blockDim.x} * kVector;
  }
  __device__ __forceinline__ void load(const View& view, uint32_t k, float (&to)[kVector]) const {
    load_vector(static_cast<const T*>(view.data) + offset(k), to);
  }
  __device__ __forceinline__ void store(const View& view, uint32_t k,
                                        const float (&from)[kVector]) const {
    store_vector(static_cast<T*>(view.data) + offset(k), from);
  }
};

// Dense channels-last images: a tile is several groups, a unit is a pixel. A thread stays with the
// same kVector channels.
template <typename T>
struct Interleaved {
  using Real = float;
  static constexpr int kValues = kVector;
  static constexpr bool kManyGroups = true;

  int64_t start, stride;
  uint32_t rows, row, column, steps;  // threads of a block are rows x (width / kVector)

  __device__ __forceinline__ Interleaved(const NormTiling& tiling, const NormPart& part) {
    const uint32_t vectors = part.width / kVector;
    rows = blockDim.x / vectors;
    row = threadIdx.x / vectors;
    column = threadIdx.x % vectors * kVector;
    const uint32_t first = part.begin + row;
    steps = row < rows && first < part.end ? (part.end - first + rows - 1) / rows : 0;
    start = (part.b * tiling.pixels + first) * tiling.channels + part.first + column;
    stride = int64_t{rows} * tiling.channels;
  }

  static __device__ __forceinline__ uint32_t per_unit(const NormTiling& tiling) {
    return tiling.per_group;
  }
  __device__ __forceinline__ uint32_t channel(uint32_t) const { return column; }
  __device__ __forceinline__ void load(const View& view, uint32_t k, float (&to)[kVector]) const {
    load_vector(static_cast<const T*>(view.data) + start + k * stride, to);
  }
  __device__ __forceinline__ void store(const View& view, uint32_t k,
                                        const float (&from)[kVector]) const {
    store_vector(static_cast<T*>(view.data) + start + k * stride, from);
  }
};

// Any strides and types: a tile is one group, a unit is an element.
template <typename R>
struct Strided {
  using Real = R;
  static constexpr int kValues = 1;
  static constexpr bool kManyGroups = false;

  const NormTiling& tiling;
  const NormPart& part;
  uint32_t first, steps;

  __device__ __forceinline__ Strided(const NormTiling& tiling_, const NormPart& part_)
      : tiling(tiling_),
        part(part_),
        first(part_.begin + threadIdx.x),
        steps(first < part_.end ? (part_.end - first + blockDim.x - 1) / blockDim.x : 0) {}

  static __device__ __forceinline__ uint32_t per_unit(const NormTiling&) { return 1; }
  __device__ __forceinline__ uint32_t channel(uint32_t k) const {
    const uint32_t i = first + k * blockDim.x;
    return tiling.channels_fastest ? i % tiling.per_group : i / tiling.pixels;
  }
  __device__ __forceinline__ int64_t offset(const View& view, uint32_t k) const {
    const uint32_t i = first + k * blockDim.x;
    const uint32_t pixel = tiling.channels_fastest ? i / tiling.per_group : i % tiling.pixels;
    return part.b * view.batch + (part.first + channel(k)) * view.outer +
           pixel / tiling.columns * view.row + pixel % tiling.columns * view.column;
  }
  __device__ __forceinline__ void load(const View& view, uint32_t k, Real (&to)[1]) const {
    to[0] = load_number<Real>(view.data, view.element, offset(view, k));
  }
  __device__ __forceinline__ void store(const View& view, uint32_t k, const Real (&from)[1]) const {
    store_number(view.data, view.element, offset(view, k), from[0]);
  }
};

template <typename Real>
__device__ __forceinline__ Real warp_sum(Real value) {
#pragma unroll
  for (int d = kWarp / 2; d > 0; d /= 2) value += __shfl_xor_sync(kAllLanes, value, d);
  return value;
}

// Adds up what the threads of the block hold for each group of its part: to[group], for all of
// them. `scratch` has room for the values of all threads.
template <typename Access>
__device__ __forceinline__ void sum_over_groups(
    const Access& access, const NormTiling& tiling, const NormPart& part,
    const typename Access::Real (&value)[Access::kValues], typename Access::Real* scratch,
    typename Access::Real* to) {
  using Real = typename Access::Real;
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const uint32_t warps = blockDim.x / kWarp;
  __syncthreads();
  if constexpr (Access::kManyGroups) {
    if (access.row < access.rows) {
#pragma unroll
      for (int i = 0; i < Access::kValues; ++i) {
        scratch[access.row * part.width + access.column + i] = value[i];
      }
    }
    __syncthreads();
    for (uint32_t g = warp; g < part.width / tiling.per_group; g += warps) {
      Real sum = 0;
      for (uint32_t i = lane; i < access.rows * tiling.per_group; i += kWarp) {
        const uint32_t row = i / tiling.per_group, channel = i % tiling.per_group;
        sum += scratch[row * part.width + g * tiling.per_group + channel];
      }
      sum = warp_sum(sum);
      if (lane == 0) to[g] = sum;
    }
  } else {
    Real sum = 0;
#pragma unroll
    for (int i = 0; i < Access::kValues; ++i) sum += value[i];
    sum = warp_sum(sum);
    if (lane == 0) scratch[warp] = sum;
    __syncthreads();
    if (warp == 0) {
      sum = warp_sum(lane < warps ? scratch[lane] : Real(0));
      if (lane == 0) to[0] = sum;
    }
  }
  __syncthreads();
}

}  // namespace vml_fast::cuda
