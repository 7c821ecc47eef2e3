// Fast Walsh-Hadamard transform along the last dimension, orthonormal, natural order.
//
// Rows up to kInShared numbers are transformed in shared memory by one block. Longer rows first
// take passes of 16, 8, 4 or 2 numbers per thread in registers over the widest distances.
#include <torch/csrc/stable/library.h>

#include <cmath>

#include "cuda/launch.cuh"

namespace vml_fast::cuda {

namespace {

constexpr int64_t kInShared = 4096;

// One pass of log2(kRadix) levels: a thread holds the numbers at base + r * distance.
template <int kRadix>
__global__ void wide_kernel(const float* from, float* to, uint32_t items, uint32_t distance) {
  if (item_index() >= items) return;
  const uint32_t piece = item_index() / distance;
  const int64_t start = (int64_t{sample_index()} * items + int64_t{piece} * distance) * kRadix;
  const int64_t base = start + item_index() % distance;
  float value[kRadix];
#pragma unroll
  for (int r = 0; r < kRadix; ++r) value[r] = from[base + r * distance];
#pragma unroll
  for (int half = kRadix / 2; half > 0; half /= 2) {
#pragma unroll
    for (int r = 0; r < kRadix; ++r) {
      if ((r & half) == 0) {
        const float a = value[r], b = value[r + half];
        value[r] = a + b;
        value[r + half] = a - b;
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kRadix; ++r) to[base + r * distance] = value[r];
}

// All levels of a piece of `length` numbers, one piece per block.
__global__ void shared_kernel(const float* from, float* to, int length, float scale) {
  VML_DYNAMIC_SHARED(float, value);
  const int64_t start = static_cast<int64_t>(blockIdx.x) * length;
  for (int i = threadIdx.x; i < length; i += blockDim.x) value[i] = scale * from[start + i];
  for (int half = 1; half < length; half *= 2) {
    __syncthreads();
    for (int k = threadIdx.x; k < length / 2; k += blockDim.x) {
      const int i = k / half * (2 * half) + k % half;
      const float a = value[i], b = value[i + half];
      value[i] = a + b;
      value[i + half] = a - b;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < length; i += blockDim.x) to[start + i] = value[i];
}

template <int kRadix>
void wide_pass(const Tensor& x, const float* from, float* to, int64_t n, int64_t length) {
  const uint32_t items = static_cast<uint32_t>(n / kRadix);
  launch_items(x, x.numel() / n, items, &wide_kernel<kRadix>, from, to, items,
               static_cast<uint32_t>(length / kRadix));
}

void wide_pass(const Tensor& x, const float* from, float* to, int64_t n, int64_t length,
               int radix) {
  switch (radix) {
    case 16:
      return wide_pass<16>(x, from, to, n, length);
    case 8:
      return wide_pass<8>(x, from, to, n, length);
    case 4:
      return wide_pass<4>(x, from, to, n, length);
    default:
      return wide_pass<2>(x, from, to, n, length);
  }
}

}  // namespace

Tensor fwht(const Tensor& x) {
  check_fwht(x);
  const Tensor in = torch::stable::contiguous(x);
  Tensor out = torch::stable::new_empty(x, x.sizes());
  if (x.numel() == 0) return out;
  const int64_t n = x.size(x.dim() - 1);
  const float* from = static_cast<const float*>(in.data_ptr());
  float* const to = static_cast<float*>(out.data_ptr());
  int64_t length = n;
  while (length > kInShared) {
    const int radix = static_cast<int>(std::min<int64_t>(16, length / kInShared));
    wide_pass(x, from, to, n, length, radix);
    length /= radix;
    from = to;
  }
  const int64_t pieces = x.numel() / length;
  STD_TORCH_CHECK(pieces <= kMostBlocks, "x is too large");
  const int threads = static_cast<int>(std::clamp<int64_t>(length / 2, 32, kThreads));
  launch(x, &shared_kernel, dim3(static_cast<unsigned>(pieces)), dim3(threads),
         length * sizeof(float), from, to, static_cast<int>(length),
         static_cast<float>(1.0 / std::sqrt(static_cast<double>(n))));
  return out;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("fwht", TORCH_BOX(&vml_fast::cuda::fwht));
}
