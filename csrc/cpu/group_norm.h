// GroupNorm + SiLU on dense tensors: what both memory formats share.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/clones.h"
#include "cpu/convert.h"
#include "cpu/group_norm_loops.h"
#include "cpu/parallel.h"
#include "cpu/scale_shift.h"

namespace vml_fast::cpu {

using torch::stable::Tensor;

constexpr int64_t kStage = 2048;    // elements at a time: they stay in the first-level cache
constexpr int64_t kKept = 1 << 18;  // numbers of dz that stay in the second-level cache

template <typename A>
struct GroupNorm {
  int64_t samples, channels, pixels, groups;
  const ScaleShift<A>& parameters;
  bool activation;

  int64_t per_group() const { return channels / groups; }
};

template <typename A>
struct Statistics {
  A mean, rstd;
};

template <typename A>
Statistics<A> statistics_of(double mean, double variance, double eps) {
  const double positive = std::max(variance, 0.0);  // in this order NaN stays
  return {static_cast<A>(mean), static_cast<A>(1.0 / std::sqrt(positive + eps))};
}

// The type that tensors of T are computed in.
template <typename T>
using Arithmetic = std::conditional_t<std::is_same_v<T, double>, double, float>;

// A dense tensor, read and written as elements of T: in its own memory where they are of that type,
// else, for T = float, through a buffer.
template <typename T>
class Dense {
 public:
  explicit Dense(const Tensor& tensor)
      : data_(static_cast<char*>(tensor.data_ptr())),
        type_(tensor.scalar_type()),
        bytes_(size_of(type_)),
        is_direct_(!std::is_same_v<T, float> || type_ == ScalarType::Float) {}

  // Whether `read` gives the tensor's own memory.
  bool is_direct() const { return is_direct_; }

  const T* read(int64_t start, int64_t n, T* buffer) const {
    if (is_direct_) return direct(start);
    if constexpr (std::is_same_v<T, float>) {
      load_floats(buffer, data_ + start * bytes_, 1, n, type_);
    }
    return buffer;
  }

  // Where to write elements from `start` on, before `store` is called.
  T* target(int64_t start, T* buffer) const { return is_direct_ ? direct(start) : buffer; }

  void store(int64_t start, int64_t n, const T* values) const {
    if (is_direct_) {
      if (values != direct(start)) std::copy_n(values, n, direct(start));
    } else if constexpr (std::is_same_v<T, float>) {
      store_floats(data_ + start * bytes_, 1, values, n, type_);
    }
  }

 private:
  T* direct(int64_t start) const { return reinterpret_cast<T*>(data_) + start; }

  char* data_;
  ScalarType type_;
  int64_t bytes_;
  bool is_direct_;
};

// The sums over a group that its gradient needs: of dxhat, and of dxhat (x - mean).
template <typename A>
struct GroupSums {
  double dxhat = 0.0, product = 0.0;

  // One channel's sums of dz and dz (x - mean).
  void add(double weight, double sum, double product_sum) {
    dxhat += weight * sum;
    product += weight * product_sum;
  }

  // The terms of dx = gain dz - constant - slope (x - mean).
  A constant(double rstd, double count) const { return static_cast<A>(rstd * dxhat / count); }
  A slope(double rstd, double count) const {
    return static_cast<A>(rstd * rstd * rstd * product / count);
  }
};

// Arrays that a thread works in, one after another: fresh memory would cost more than many loops.
// Purposes that are served at the same time have memory of their own.
struct Computing {};
struct Staging {};
struct Summing {};

template <typename A, typename Purpose = Computing>
class Workspace {
 public:
  explicit Workspace(int64_t total) {
    thread_local std::vector<A> memory;
    if (memory.size() < static_cast<size_t>(total)) memory.resize(total);
    next_ = memory.data();
  }

  A* take(int64_t n) {
    A* const taken = next_;
    next_ += n;
    return taken;
  }

  A* zeros(int64_t n) { return std::fill_n(take(n), n, A(0)) - n; }

 private:
  A* next_;
};

}  // namespace vml_fast::cpu
