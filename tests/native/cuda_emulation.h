// Runs the CUDA kernels of csrc/cuda on the CPU, so that their results can be tested without a GPU.
//
// The threads of a block are fibers on one operating-system thread. A barrier or shuffle gives way
// to the next fiber, so every thread has passed it when the first one continues. It shows wrong
// indices, missing barriers between uniform phases, and wrong arithmetic; it says nothing about
// speed, and it assumes that all threads of a block reach every barrier and shuffle.
#pragma once

#include <math.h>
#include <torch/csrc/stable/tensor.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define VML_DYNAMIC_SHARED(type, name) \
  type* const name = reinterpret_cast<type*>(emulation::dynamic_shared.data())

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {

constexpr size_t kStack = 64 * 1024;

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(kStack);
  bool done = true;
};

inline std::vector<double> dynamic_shared;
inline std::vector<uint64_t> exchange;
inline std::vector<Fiber> fibers;
inline ucontext_t scheduler;
inline size_t current;
inline void (*body)(void*);
inline void* body_context;

inline void give_way() { swapcontext(&fibers[current].context, &scheduler); }

inline void fiber_main() {
  body(body_context);
  fibers[current].done = true;
  swapcontext(&fibers[current].context, &scheduler);
}

inline dim3 thread_of(size_t index) {
  const unsigned i = static_cast<unsigned>(index);
  return dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
}

inline void run_block(size_t threads) {
  if (fibers.size() < threads) fibers = std::vector<Fiber>(threads);
  exchange.resize(threads);
  for (size_t i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.data();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    fiber.done = false;
    makecontext(&fiber.context, fiber_main, 0);
  }
  for (size_t alive = threads; alive > 0;) {
    alive = 0;
    for (size_t i = 0; i < threads; ++i) {
      if (fibers[i].done) continue;
      current = i;
      threadIdx = thread_of(i);
      swapcontext(&scheduler, &fibers[i].context);
      alive += fibers[i].done ? 0 : 1;
    }
  }
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::give_way();
  threadIdx = emulation::thread_of(emulation::current);
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, unsigned distance) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  std::memcpy(&emulation::exchange[emulation::current], &value, sizeof(T));
  __syncthreads();
  T other;
  std::memcpy(&other, &emulation::exchange[emulation::current ^ distance], sizeof(T));
  __syncthreads();
  return other;
}

inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }

namespace vml_fast::cuda {

template <typename... Parameters, typename... Arguments>
void launch(const torch::stable::Tensor&, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared, Arguments&&... arguments) {
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  auto call = [&] { std::apply(kernel, values); };
  emulation::body = [](void* context) { (*static_cast<decltype(call)*>(context))(); };
  emulation::body_context = &call;
  emulation::dynamic_shared.assign(shared / sizeof(double) + 1, NAN);
  gridDim = grid;
  blockDim = block;
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        emulation::run_block(size_t{block.x} * block.y * block.z);
      }
    }
  }
}

}  // namespace vml_fast::cuda
