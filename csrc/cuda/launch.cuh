// Launching kernels, and walking over the samples and items of a launch.
#pragma once

#ifdef VML_FAST_EMULATE  // tests run the kernels on the CPU
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>

#define VML_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "cuda/view.h"

namespace vml_fast::cuda {

constexpr int kThreads = 256;  // of a block
constexpr unsigned kAllLanes = 0xFFFFFFFFu;
constexpr int kWarp = 32;

// `cluster` neighboring blocks of the grid run at the same time and see each other's shared memory.
struct Launch {
  dim3 grid;
  unsigned threads = kThreads;
  size_t shared = 0;
  unsigned cluster = 1;
};

inline void check_blocks(int64_t blocks) {
  if (blocks > INT32_MAX) throw std::runtime_error("CUDA: the tensors are too large for a launch");
}

#ifdef VML_FAST_EMULATE

inline int device_attribute(Stream, cudaDeviceAttr attribute) {
  return emulation::device_attribute(attribute);
}

template <typename... Parameters, typename... Arguments>
void launch(Stream, const Launch& shape, void (*kernel)(Parameters...), Arguments&&... arguments) {
  emulation::launch(shape.grid, shape.threads, shape.shared, shape.cluster,
                    [&] { kernel(arguments...); });
}

#else

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA: ") + what + ": " + cudaGetErrorString(error));
}

inline int device_attribute(Stream stream, cudaDeviceAttr attribute) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, attribute, stream.device), "reading a device attribute");
  return value;
}

template <typename... Parameters, typename... Arguments>
void launch(Stream stream, const Launch& shape, void (*kernel)(Parameters...),
            Arguments&&... arguments) {
  constexpr size_t kSharedByDefault = 48 * 1024;
  if (shape.shared > kSharedByDefault) {
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                               cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shape.shared)),
          "asking for shared memory");
  }
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = shape.cluster;
  cluster.val.clusterDim.y = cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared;
  config.stream = static_cast<cudaStream_t>(stream.handle);
  config.attrs = &cluster;
  config.numAttrs = shape.cluster > 1 ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...),
        "launching a kernel");
}

#endif

inline int multiprocessors(Stream stream) {
  return device_attribute(stream, cudaDevAttrMultiProcessorCount);
}

// Launches a kernel that loops over the `items` of `batch` samples with for_each_item.
template <typename... Parameters, typename... Arguments>
void launch_items(Stream stream, int64_t batch, int64_t items, void (*kernel)(Parameters...),
                  Arguments&&... arguments) {
  constexpr int64_t kBlocksPerMultiprocessor = 32;  // several rounds: the last one is short
  constexpr int64_t kMostRows = 65535;              // of a grid
  if (batch * items == 0) return;
  const int64_t rows = std::min(batch, kMostRows);
  const int64_t most = kBlocksPerMultiprocessor * multiprocessors(stream) / rows;
  const int64_t blocks = std::min((items + kThreads - 1) / kThreads, std::max<int64_t>(1, most));
  const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(rows));
  launch(stream, {.grid = grid}, kernel, std::forward<Arguments>(arguments)...);
}

// Calls f(b) for the samples of this thread.
template <typename F>
__device__ __forceinline__ void for_each_sample(int64_t batch, const F& f) {
  for (int64_t b = blockIdx.y; b < batch; b += gridDim.y) f(b);
}

// Calls f(item) for the items of this thread; the threads of a warp make the same number of calls
// only if `items` is a multiple of the warp.
template <typename Index, typename F>
__device__ __forceinline__ void for_each_item(Index items, const F& f) {
  const Index step = static_cast<Index>(gridDim.x) * blockDim.x;
  for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < items; i += step) {
    f(i);
  }
}

}  // namespace vml_fast::cuda
