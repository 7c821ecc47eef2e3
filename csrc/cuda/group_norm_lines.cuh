// What a channel of a sample needs for GroupNorm, and the shared memory in which blocks keep it.
#pragma once

#include "cuda/group_norm.cuh"

namespace vml_fast::cuda {

template <typename Real>
struct Pair {
  Real first, second;
};

// What a channel of a sample needs: z = (x - mean) rstd gain + offset.
template <typename Real>
struct alignas(4 * sizeof(Real)) Line {
  Real mean, rstd, gain, offset;

  __device__ __forceinline__ Real normalize(Real x) const { return (x - mean) * rstd; }
};

struct Job {
  GroupNorm norm;
  NormTiling tiling;
  Statistics statistics;
  View x, gradient, out;
};

template <typename Real>
__device__ __forceinline__ Real load_parameter(const Parameter& parameter, int64_t b, int64_t c) {
  const int64_t place = b * parameter.batch + c * parameter.channel;
  return load_number<Real>(parameter.data, parameter.element, place);
}

// gain = w (1 + scale), offset = b (1 + scale) + shift.
template <typename Real>
__device__ __forceinline__ Line<Real> line_of(const GroupNorm& norm, int64_t b, int64_t c,
                                              Pair<Real> mean_rstd) {
  Line<Real> line{mean_rstd.first, mean_rstd.second, load_parameter<Real>(norm.weight, b, c),
                  load_parameter<Real>(norm.bias, b, c)};
  if (norm.scale.data != nullptr) {
    const Real scale = 1 + load_parameter<Real>(norm.scale, b, c);
    line.gain *= scale;
    line.offset *= scale;
  }
  if (norm.shift.data != nullptr) line.offset += load_parameter<Real>(norm.shift, b, c);
  return line;
}

// The shared memory of a block.
template <typename Access>
struct Room {
  using Real = typename Access::Real;
  static constexpr bool kLines = Access::kValues > 1;  // else every element makes its own

  Line<Real>* lines;   // (width)
  Pair<Real>* merged;  // (groups), of whole tiles
  Real* first;         // (groups), of this block, read by the others
  Real* second;
  Real* scratch;

  __host__ __device__ static size_t size(const NormTiling& tiling, unsigned threads) {
    const size_t groups = tiling.width / tiling.per_group;
    const size_t lines = kLines ? tiling.width * sizeof(Line<Real>) / sizeof(Real) : 0;
    return (lines + 4 * groups + threads * Access::kValues) * sizeof(Real);
  }

  __device__ __forceinline__ Room(void* memory, const NormTiling& tiling) {
    const uint32_t groups = tiling.width / tiling.per_group;
    lines = static_cast<Line<Real>*>(memory);
    merged = reinterpret_cast<Pair<Real>*>(lines + (kLines ? tiling.width : 0));
    first = reinterpret_cast<Real*>(merged + groups);
    second = first + groups;
    scratch = second + groups;
  }
};

// The lines of the numbers of a step.
template <typename Access>
struct Lines {
  using Real = typename Access::Real;
  static constexpr int kLines = Access::kManyGroups ? Access::kValues : 1;

  Line<Real> line[kLines];

  // Fills the table in shared memory from merged[group] = (mean, rstd).
  static __device__ __forceinline__ void make(const Job& job, const NormPart& part,
                                              const Room<Access>& room) {
    if constexpr (Room<Access>::kLines) {
      for (uint32_t c = threadIdx.x; c < part.width; c += blockDim.x) {
        room.lines[c] =
            line_of<Real>(job.norm, part.b, part.first + c, room.merged[c / job.tiling.per_group]);
      }
      __syncthreads();
    }
  }

  // Where the channels are the same in every step they are looked up once.
  __device__ __forceinline__ Lines(const Access& access, const Room<Access>& room) {
    if constexpr (Access::kManyGroups) {
#pragma unroll
      for (int i = 0; i < kLines; ++i) line[i] = room.lines[access.channel(0) + i];
    }
  }

  __device__ __forceinline__ void step(uint32_t k, const Access& access, const Job& job,
                                       const NormPart& part, const Room<Access>& room) {
    if constexpr (!Access::kManyGroups) {
      const uint32_t c = access.channel(k);
      if constexpr (Room<Access>::kLines) {
        line[0] = room.lines[c];
      } else {
        line[0] = line_of<Real>(job.norm, part.b, part.first + c, room.merged[0]);
      }
    }
  }

  __device__ __forceinline__ const Line<Real>& operator[](int i) const {
    return line[Access::kManyGroups ? i : 0];
  }
};

// Group of value i of a thread, counted from the first of the tile.
template <typename Access>
__device__ __forceinline__ uint32_t group_of(const Access& access, const NormTiling& tiling,
                                             int i) {
  return Access::kManyGroups ? (access.channel(0) + i) / tiling.per_group : 0;
}

}  // namespace vml_fast::cuda
