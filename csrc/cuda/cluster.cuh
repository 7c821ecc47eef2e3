// Blocks that run at the same time and read each other's shared memory (Hopper's clusters). On
// older devices, and in launches without a cluster, a block is alone.
#pragma once

#include <iterator>

#include "cuda/launch.cuh"

namespace vml_fast::cuda {

constexpr unsigned kMostBlocksOfCluster = 8;  // that every device with clusters grants

// 1 also where a newer device runs code that was compiled for an older one.
inline unsigned largest_cluster(Stream stream) {
#ifdef VML_FAST_EMULATE
  constexpr int kCompiledFor[] = {900};
#else
  constexpr int kCompiledFor[] = {__CUDA_ARCH_LIST__};
#endif
  constexpr int kHopper = 900;
  const int device = 100 * device_attribute(stream, cudaDevAttrComputeCapabilityMajor) +
                     10 * device_attribute(stream, cudaDevAttrComputeCapabilityMinor);
  const bool has_clusters = std::any_of(std::begin(kCompiledFor), std::end(kCompiledFor),
                                        [&](int a) { return kHopper <= a && a <= device; });
  return has_clusters ? kMostBlocksOfCluster : 1;
}

#if defined(VML_FAST_EMULATE) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900)

__device__ __forceinline__ unsigned cluster_size() {
  return __clusterSizeInBlocks();
}
__device__ __forceinline__ unsigned cluster_rank() {
  return __clusterRelativeBlockRank();
}

// A barrier of all threads of the cluster in two halves: what was written to shared memory before
// the first half is seen by the others after the second.
__device__ __forceinline__ void cluster_arrive() {
  __cluster_barrier_arrive();
}
__device__ __forceinline__ void cluster_wait() {
  __cluster_barrier_wait();
}

// The same place in the shared memory of another block.
template <typename T>
__device__ __forceinline__ const T* of_block(const T* place, unsigned rank) {
  return static_cast<const T*>(__cluster_map_shared_rank(place, rank));
}

#else

__device__ __forceinline__ unsigned cluster_size() {
  return 1;
}
__device__ __forceinline__ unsigned cluster_rank() {
  return 0;
}
__device__ __forceinline__ void cluster_arrive() {
  __syncthreads();
}
__device__ __forceinline__ void cluster_wait() {}

template <typename T>
__device__ __forceinline__ const T* of_block(const T* place, unsigned) {
  return place;
}

#endif

}  // namespace vml_fast::cuda
