// Scratch memory, and memory that is wanted soon.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/clones.h"

namespace vml_fast::cpu {

constexpr int64_t kLine = 64;  // bytes that come together

// An array of floats that begins on a cache line.
class AlignedFloats {
 public:
  explicit AlignedFloats(int64_t n = 0) { reserve(n); }

  // Room for n floats; the old ones may be lost.
  void reserve(int64_t n) {
    constexpr int64_t kSpare = kLine / sizeof(float);
    if (static_cast<int64_t>(memory_.size()) < n + kSpare) memory_.resize(n + kSpare);
  }

  float* data() {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.data());
    return reinterpret_cast<float*>((address + kLine - 1) / kLine * kLine);
  }

 private:
  std::vector<float> memory_;
};

// Memory that is fetched into the second-level cache, some lines at a time between other work.
class Soon {
 public:
  // `steps`: how many calls of `step` fetch it all.
  Soon(const float* begin, int64_t count, int64_t steps)
      : next_(reinterpret_cast<const char*>(begin)),
        end_(next_ + count * sizeof(float)),
        per_step_((end_ - next_) / steps + kLine) {}

  void step() {
    const char* const until = std::min(end_, next_ + per_step_);
    for (; next_ < until; next_ += kLine) __builtin_prefetch(next_, 0, 2);
  }

 private:
  const char* next_;
  const char* end_;
  int64_t per_step_;
};

}  // namespace vml_fast::cpu
