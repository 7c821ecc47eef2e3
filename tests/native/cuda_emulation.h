// Runs the CUDA kernels of csrc/cuda on the CPU, so that their results can be tested without a GPU.
//
// The threads of a cluster of blocks are fibers on one thread of the operating system; a barrier or
// shuffle gives way to the next fiber until all have arrived. It shows wrong indices, wrong
// arithmetic, barriers that not all threads reach, and (with UBSan) misaligned vectors. It says
// nothing about speed, and as fibers only change at barriers it does not show every missing one.
#pragma once

#include <cuda_runtime_api.h>
#include <ucontext.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#undef __launch_bounds__
#define __launch_bounds__(...)
#define VML_DYNAMIC_SHARED(type, name) \
  type* const name = reinterpret_cast<type*>(emulation::self().block->shared.data())

inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;

namespace emulation {

constexpr size_t kStack = 64 * 1024;
constexpr unsigned kWarp = 32;

inline uint64_t progress = 0;  // grows with every barrier passed and every thread that ends

struct Barrier {
  unsigned expected = 0, arrived = 0;
  uint64_t generation = 0;

  void release_if_complete() {
    if (expected == 0 || arrived < expected) return;
    arrived = 0;
    ++generation;
    ++progress;
  }
  uint64_t arrive() {
    const uint64_t ticket = generation;
    ++arrived;
    release_if_complete();
    return ticket;
  }
  void leave() {
    --expected;
    release_if_complete();
  }
};

struct Warp {
  Barrier barrier;
  uint64_t slot[kWarp];
};

struct Block {
  uint3 index;
  unsigned rank;
  std::vector<float4> shared;
  Barrier barrier;
  std::vector<Warp> warps;
};

struct Cluster {
  std::vector<Block> blocks;
  Barrier barrier;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  Cluster* cluster;
  Block* block;
  unsigned index;
  uint64_t ticket;  // of the cluster's barrier
  bool done;
};

inline std::vector<Thread> threads;
inline ucontext_t scheduler;
inline size_t current;
inline const std::function<void()>* body;

inline Thread& self() {
  return threads[current];
}
inline Warp& own_warp() {
  return self().block->warps[self().index / kWarp];
}

inline void give_way() {
  swapcontext(&self().context, &scheduler);
}

inline void wait(Barrier& barrier, uint64_t ticket) {
  while (barrier.generation == ticket) give_way();
}

inline void run_thread() {
  (*body)();
  Thread& thread = self();
  thread.done = true;
  thread.block->barrier.leave();
  thread.block->warps[thread.index / kWarp].barrier.leave();
  thread.cluster->barrier.leave();
  ++progress;
  give_way();
}

inline void start(Thread& thread, Cluster& cluster, Block& block, unsigned index) {
  if (!thread.stack) thread.stack = std::make_unique_for_overwrite<char[]>(kStack);
  thread.cluster = &cluster;
  thread.block = &block;
  thread.index = index;
  thread.done = false;
  ++block.barrier.expected;
  ++block.warps[index / kWarp].barrier.expected;
  ++cluster.barrier.expected;
  getcontext(&thread.context);
  thread.context.uc_stack.ss_sp = thread.stack.get();
  thread.context.uc_stack.ss_size = kStack;
  thread.context.uc_link = nullptr;
  makecontext(&thread.context, run_thread, 0);
}

// Gives every thread a turn until all have ended.
inline void run_cluster(size_t count) {
  for (size_t alive = count; alive > 0;) {
    const uint64_t before = progress;
    alive = 0;
    for (size_t i = 0; i < count; ++i) {
      if (threads[i].done) continue;
      current = i;
      threadIdx = uint3{threads[i].index, 0, 0};
      blockIdx = threads[i].block->index;
      swapcontext(&scheduler, &threads[i].context);
      alive += threads[i].done ? 0 : 1;
    }
    if (alive > 0 && progress == before) {
      std::fputs("CUDA emulation: not all threads reach the same barrier\n", stderr);
      std::abort();
    }
  }
}

// One cluster after the other. Shared memory starts as NaN.
inline void launch(dim3 grid, unsigned block_size, size_t shared, unsigned cluster_size,
                   const std::function<void()>& kernel) {
  gridDim = grid;
  blockDim = dim3(block_size);
  body = &kernel;
  if (threads.size() < size_t{cluster_size} * block_size) {
    threads = std::vector<Thread>(size_t{cluster_size} * block_size);
  }
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; x += cluster_size) {
      Cluster cluster;
      cluster.blocks.resize(cluster_size);
      for (unsigned rank = 0; rank < cluster_size; ++rank) {
        Block& block = cluster.blocks[rank];
        block.index = uint3{x + rank, y, 0};
        block.rank = rank;
        block.shared.resize(shared / sizeof(float4) + 1);
        std::memset(block.shared.data(), 0xFF, block.shared.size() * sizeof(float4));
        block.warps.resize((block_size + kWarp - 1) / kWarp);
        for (unsigned i = 0; i < block_size; ++i) {
          start(threads[rank * block_size + i], cluster, block, i);
        }
      }
      run_cluster(size_t{cluster_size} * block_size);
    }
  }
}

// A small Hopper, so that grids are smaller than the work.
inline int device_attribute(cudaDeviceAttr attribute) {
  switch (attribute) {
    case cudaDevAttrComputeCapabilityMajor:
      return 9;
    case cudaDevAttrComputeCapabilityMinor:
      return 0;
    default:
      return 8;  // multiprocessors
  }
}

}  // namespace emulation

inline void __syncthreads() {
  emulation::Barrier& barrier = emulation::self().block->barrier;
  emulation::wait(barrier, barrier.arrive());
}

template <typename T>
T __shfl_xor_sync(unsigned, T value, int distance) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  emulation::Warp& warp = emulation::own_warp();
  const unsigned lane = emulation::self().index % emulation::kWarp;
  std::memcpy(&warp.slot[lane], &value, sizeof(T));
  emulation::wait(warp.barrier, warp.barrier.arrive());
  T other;
  std::memcpy(&other, &warp.slot[lane ^ static_cast<unsigned>(distance)], sizeof(T));
  emulation::wait(warp.barrier, warp.barrier.arrive());
  return other;
}

inline unsigned __clusterSizeInBlocks() {
  return static_cast<unsigned>(emulation::self().cluster->blocks.size());
}
inline unsigned __clusterRelativeBlockRank() {
  return emulation::self().block->rank;
}
inline void __cluster_barrier_arrive() {
  emulation::self().ticket = emulation::self().cluster->barrier.arrive();
}
inline void __cluster_barrier_wait() {
  emulation::wait(emulation::self().cluster->barrier, emulation::self().ticket);
}
inline const void* __cluster_map_shared_rank(const void* place, unsigned rank) {
  const emulation::Thread& thread = emulation::self();
  const char* const own = reinterpret_cast<const char*>(thread.block->shared.data());
  const auto offset = static_cast<const char*>(place) - own;
  return reinterpret_cast<const char*>(thread.cluster->blocks[rank].shared.data()) + offset;
}

inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = static_cast<float>(std::sin(M_PI * x));
  *cosine = static_cast<float>(std::cos(M_PI * x));
}
