// Both memory formats as rows of lanes, so that one set of loops serves them.
//
// Channels last: a row is a pixel, a lane a channel. Planar: a row is a piece of one channel's
// plane, and all its lanes belong to that channel. Every lane has its own statistics and constants.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/convert.h"
#include "cpu/group_norm_loops.h"
#include "cpu/parallel.h"

namespace vml_fast::cpu {

using torch::stable::Tensor;

constexpr int64_t kStage = 4096;     // elements at a time: they stay in the first-level cache
constexpr int64_t kStageRows = 16;   // rows at a time at least
constexpr int64_t kPlaneLanes = 32;  // row length of a planar channel

// Which part of a sample one thread works on: channels [first, first + count) of sample b.
struct Slice {
  int64_t b, first, count;
};

// A dense (B, C, H, W) tensor as rows of lanes, staged in the arithmetic type A.
template <typename A>
class Blocks {
 public:
  Blocks(const Tensor& tensor, bool channels_last)
      : data_(static_cast<char*>(tensor.data_ptr())),
        type_(tensor.scalar_type()),
        channels_(tensor.size(1)),
        pixels_(tensor.size(2) * tensor.size(3)),
        channels_last_(channels_last) {}

  // Calls f(offset, rows, lane) for pieces of about kStage elements; `lane` is the index of the
  // first lane's constants, `offset` where the piece starts in the tensor.
  template <typename F>
  void for_each_piece(const Slice& slice, const F& f) const {
    const int64_t sample = slice.b * channels_ * pixels_;
    if (channels_last_) {
      const int64_t step = std::max(kStageRows, kStage / slice.count);
      for (int64_t pixel = 0; pixel < pixels_; pixel += step) {
        const Rows rows{std::min(step, pixels_ - pixel), slice.count};
        f(sample + pixel * channels_ + slice.first, rows, int64_t{0});
      }
      return;
    }
    for (int64_t c = 0; c < slice.count; ++c) {
      const int64_t plane = sample + (slice.first + c) * pixels_;
      const int64_t lane = c * kPlaneLanes;
      const int64_t whole = pixels_ / kPlaneLanes;
      const int64_t step = kStage / kPlaneLanes;
      for (int64_t row = 0; row < whole; row += step) {
        const Rows rows{std::min(step, whole - row), kPlaneLanes};
        f(plane + row * kPlaneLanes, rows, lane);
      }
      const int64_t rest = pixels_ - whole * kPlaneLanes;
      if (rest > 0) f(plane + whole * kPlaneLanes, Rows{1, rest}, lane);
    }
  }

  // The piece as dense rows of A, in the tensor itself where it is that already.
  const A* load(int64_t offset, const Rows& rows, A* buffer) const {
    if constexpr (std::is_same_v<A, double>) {
      const double* from = reinterpret_cast<const double*>(data_) + offset;
      for (int64_t r = 0; r < rows.count; ++r) {
        std::copy_n(from + r * stride(rows), rows.lanes, buffer + r * rows.lanes);
      }
    } else {
      const char* from = data_ + offset * size_of(type_);
      if (stride(rows) == rows.lanes) {
        if (type_ == ScalarType::Float) return reinterpret_cast<const float*>(from);
        load_floats(buffer, from, 1, rows.count * rows.lanes, type_);
        return buffer;
      }
      for (int64_t r = 0; r < rows.count; ++r) {
        load_floats(buffer + r * rows.lanes, from + r * stride(rows) * size_of(type_), 1,
                    rows.lanes, type_);
      }
    }
    return buffer;
  }

  // The piece in the buffer, whatever the type, to be changed there.
  A* copy(int64_t offset, const Rows& rows, A* buffer) const {
    const A* loaded = load(offset, rows, buffer);
    if (loaded != buffer) std::copy_n(loaded, rows.count * rows.lanes, buffer);
    return buffer;
  }

  void store(int64_t offset, const Rows& rows, const A* from) const {
    char* to = data_ + offset * size_of(type_);
    if constexpr (!std::is_same_v<A, double>) {
      if (stride(rows) == rows.lanes) {
        return store_floats(to, 1, from, rows.count * rows.lanes, type_);
      }
    }
    for (int64_t r = 0; r < rows.count; ++r) {
      if constexpr (std::is_same_v<A, double>) {
        std::copy_n(from + r * rows.lanes, rows.lanes,
                    reinterpret_cast<double*>(to) + r * stride(rows));
      } else {
        store_floats(to + r * stride(rows) * size_of(type_), 1, from + r * rows.lanes, rows.lanes,
                     type_);
      }
    }
  }

  // Lanes that the channels of a slice need.
  int64_t lanes(const Slice& slice) const {
    return channels_last_ ? slice.count : slice.count * kPlaneLanes;
  }

  int64_t lanes_per_channel() const { return channels_last_ ? 1 : kPlaneLanes; }
  int64_t pixels() const { return pixels_; }

  // The first pixel of a channel.
  A first_value(int64_t b, int64_t channel) const {
    const int64_t sample = b * channels_ * pixels_;
    A buffer;
    return *load(sample + (channels_last_ ? channel : channel * pixels_), Rows{1, 1}, &buffer);
  }

 private:
  // Elements between the starts of two rows in the tensor.
  int64_t stride(const Rows& rows) const { return channels_last_ ? channels_ : rows.lanes; }

  char* data_;
  ScalarType type_;
  int64_t channels_, pixels_;
  bool channels_last_;
};

// Per-lane arrays of a slice, filled channel by channel.
template <typename A>
class Lanes {
 public:
  Lanes(const Blocks<A>& blocks, const Slice& slice)
      : per_channel_(blocks.lanes_per_channel()), values_(blocks.lanes(slice), A(0)) {}

  void fill(int64_t channel, A value) {
    std::fill_n(values_.begin() + channel * per_channel_, per_channel_, value);
  }
  A* at(int64_t lane) { return values_.data() + lane; }

  // Adds `count` lanes from `lane` on to the totals of their channels, and sets them to zero: float
  // sums stay short, long ones are double.
  void flush(int64_t lane, int64_t count, std::vector<double>& totals) {
    for (int64_t i = lane; i < lane + count; ++i) {
      totals[per_channel_ == 1 ? i : lane / per_channel_] += values_[i];
      values_[i] = A(0);
    }
  }

 private:
  int64_t per_channel_;
  std::vector<A> values_;
};

// Whole groups per slice; more slices than samples only where threads would idle.
template <typename F>
void for_each_slice(int64_t samples, int64_t channels, int64_t groups, int64_t pixels, const F& f) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t wanted = samples >= threads ? 1 : (threads + samples - 1) / samples;
  const int64_t parts = std::min(groups, wanted);
  const int64_t per_group = channels / groups;
  share_tiles(samples * parts, channels * pixels / parts, [&](int64_t tile) {
    const int64_t part = tile % parts;
    const int64_t begin = groups * part / parts, end = groups * (part + 1) / parts;
    f(Slice{tile / parts, begin * per_group, (end - begin) * per_group});
  });
}

}  // namespace vml_fast::cpu
