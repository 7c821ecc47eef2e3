// What every CUDA file needs: launching on torch's current stream, and element types.
#pragma once

#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "common/check.h"
#include "common/coefficients.h"

#ifdef VML_FAST_EMULATE  // tests run the kernels on the CPU (tests/native)
#include "cuda_emulation.h"
#else
#include <cuda_runtime.h>

// Weak, so that the library loads on a torch without CUDA too.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void**);

#define VML_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

namespace vml_fast::cuda {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::stable::Tensor;

constexpr int kThreads = 256;
constexpr int64_t kMostBlocks = int64_t{1} << 30;  // of the first grid dimension
constexpr int64_t kMostItems = int64_t{1} << 31;   // of a sample: indices within one are 32 bits
constexpr int64_t kMostSamples = 65535;            // of the second grid dimension

#ifndef VML_FAST_EMULATE
inline cudaStream_t current_stream(const Tensor& tensor) {
  STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "torch was built without CUDA");
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(
      aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

// Launches on the current stream of the tensor's device: any other stream would be silently wrong
// inside a captured graph.
template <typename... Parameters, typename... Arguments>
void launch(const Tensor& on, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared,
            Arguments&&... arguments) {
  const torch::stable::accelerator::DeviceGuard guard(on.get_device_index());
  const cudaStream_t stream = current_stream(on);
  kernel<<<grid, block, shared, stream>>>(std::forward<Arguments>(arguments)...);
  const cudaError_t error = cudaGetLastError();
  STD_TORCH_CHECK(error == cudaSuccess, "kernel launch failed: ", cudaGetErrorString(error));
}
#endif

// One thread per item of every sample.
template <typename... Parameters, typename... Arguments>
void launch_items(const Tensor& on, int64_t samples, int64_t items, void (*kernel)(Parameters...),
                  Arguments&&... arguments) {
  if (samples * items == 0) return;
  STD_TORCH_CHECK(items < kMostItems && samples <= kMostSamples, "the tensors are too large: ",
                  samples, " samples of ", items, " items");
  const unsigned blocks = static_cast<unsigned>((items + kThreads - 1) / kThreads);
  launch(on, kernel, dim3(blocks, static_cast<unsigned>(samples)), dim3(kThreads), 0,
         std::forward<Arguments>(arguments)...);
}

__device__ inline uint32_t sample_index() { return blockIdx.y; }
__device__ inline uint32_t item_index() { return blockIdx.x * blockDim.x + threadIdx.x; }

template <typename T>
struct Tag {
  using type = T;
};

// Calls f(Tag<T>{}) with the element type of a network tensor.
template <typename F>
void for_network_type(ScalarType type, const F& f) {
  switch (type) {
    case ScalarType::Float:
      return f(Tag<float>{});
    case ScalarType::BFloat16:
      return f(Tag<BFloat16>{});
    case ScalarType::Half:
      return f(Tag<Half>{});
    case ScalarType::Double:
      return f(Tag<double>{});
    default:
      STD_TORCH_CHECK(false, "unsupported element type");
  }
}

}  // namespace vml_fast::cuda
