// Sharing work among torch's own threads: one pool, and torch.set_num_threads is obeyed.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cstdint>

namespace vml_fast::cpu {

// Calls f(tile) for 0 <= tile < tiles; small jobs stay on the calling thread.
template <typename F>
void share_tiles(int64_t tiles, int64_t elements_per_tile, const F& f) {
  constexpr int64_t kGrain = 32768;  // elements worth a thread
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements_per_tile));
  torch::stable::parallel_for(0, tiles, grain, [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) f(tile);
  });
}

}  // namespace vml_fast::cpu
