// GroupNorm + SiLU on channels-last tensors: a pixel is a row, a channel a lane of every row.
#pragma once

#include "cpu/group_norm.h"

namespace vml_fast::cpu {

// Which part of a sample one thread works on: channels [first, first + count) of sample b.
struct Slice {
  int64_t b, first, count;
};

template <typename T>
class InterleavedGroupNorm {
 public:
  using A = Arithmetic<T>;

  explicit InterleavedGroupNorm(const GroupNorm<A>& norm) : norm_(norm) {}

  void forward(const Dense<T>& x, const Dense<T>& y, double eps, A* means, A* rstds) const {
    for_each_slice([&](const Slice& slice) {
      const int64_t stage = stage_rows(slice) * slice.count;
      Workspace<A> memory(6 * slice.count);
      Workspace<T, Staging> stages(2 * stage);
      T* const in = stages.take(stage);
      T* const out = stages.take(stage);
      write_statistics(x, slice, eps, means, rstds, in, memory);
      const Affine<A> affine = constants(slice, means, rstds, memory);
      for_each_piece(slice, [&](int64_t start, Rows rows, int64_t) {
        T* const values = is_dense(rows) ? y.target(start, out) : out;
        apply(values, read(x, start, rows, in), affine, rows, norm_.activation);
        store(y, start, rows, values);
      });
    });
  }

  // Two sweeps: sums of dz = gradient silu'(z), then dx. The second one finds dz of the first in
  // the cache, or computes it again where it would not fit.
  void backward(const Dense<T>& gradient, const Dense<T>& x, const Dense<T>& dx, const A* means,
                const A* rstds) const {
    for_each_slice([&](const Slice& slice) {
      const int64_t all = slice.count * norm_.pixels, stage = stage_rows(slice) * slice.count;
      const bool keeps = all <= kKept;
      Workspace<A> memory(7 * slice.count + (keeps ? all : stage));
      Workspace<T, Staging> stages(2 * stage);
      const Affine<A> affine = constants(slice, means, rstds, memory);
      A* const sum = memory.zeros(slice.count);
      A* const product = memory.zeros(slice.count);
      A* const constant = memory.take(slice.count);
      A* const slope = memory.take(slice.count);
      T* const x_buffer = stages.take(stage);
      T* const buffer = stages.take(stage);
      A* const kept = memory.take(0);
      const auto find_dz = [&](int64_t start, Rows rows, int64_t done, const T* values) {
        A* const dz = keeps ? kept + done : kept;
        through_silu(dz, sum, product, read(gradient, start, rows, buffer), values, affine, rows,
                     norm_.activation);
        return dz;
      };
      Workspace<double, Summing> totals(2 * slice.count);
      double* const sums = totals.zeros(slice.count);
      double* const products = totals.zeros(slice.count);
      for_each_piece(slice, [&](int64_t start, Rows rows, int64_t done) {
        find_dz(start, rows, done, read(x, start, rows, x_buffer));
        flush(sum, sums, slice.count);
        flush(product, products, slice.count);
      });
      write_terms(slice, rstds, sums, products, constant, slope);
      for_each_piece(slice, [&](int64_t start, Rows rows, int64_t done) {
        const T* const values = read(x, start, rows, x_buffer);
        const A* const dz = keeps ? kept + done : find_dz(start, rows, done, values);
        T* const result = is_dense(rows) ? dx.target(start, buffer) : buffer;
        input_gradient(result, dz, values, affine, constant, slope, rows);
        store(dx, start, rows, result);
      });
    });
  }

 private:
  static constexpr int64_t kRows = 16;  // at a time at least

  // Whole groups per slice; more slices than samples only where threads would idle.
  template <typename F>
  void for_each_slice(const F& f) const {
    const int64_t threads = torch::stable::get_num_threads();
    const int64_t wanted = (threads + norm_.samples - 1) / norm_.samples;
    const int64_t parts = std::min(norm_.groups, wanted);
    const int64_t elements = norm_.channels * norm_.pixels / parts;
    share_tiles(norm_.samples * parts, elements, [&](int64_t tile) {
      const int64_t part = tile % parts;
      const int64_t begin = norm_.groups * part / parts, end = norm_.groups * (part + 1) / parts;
      f(Slice{tile / parts, begin * norm_.per_group(), (end - begin) * norm_.per_group()});
    });
  }

  int64_t stage_rows(const Slice& slice) const {
    return std::min(norm_.pixels, std::max(kRows, kStage / slice.count));
  }

  // Calls f(start in the tensor, rows, elements of the slice before them).
  template <typename F>
  void for_each_piece(const Slice& slice, const F& f) const {
    const int64_t step = stage_rows(slice);
    for (int64_t pixel = 0; pixel < norm_.pixels; pixel += step) {
      f((slice.b * norm_.pixels + pixel) * norm_.channels + slice.first,
        Rows{std::min(step, norm_.pixels - pixel), slice.count}, pixel * slice.count);
    }
  }

  // Whether rows of the slice follow each other in the tensor.
  bool is_dense(const Rows& rows) const { return rows.lanes == norm_.channels; }

  const T* read(const Dense<T>& tensor, int64_t start, const Rows& rows, T* buffer) const {
    if (is_dense(rows)) return tensor.read(start, rows.count * rows.lanes, buffer);
    for (int64_t r = 0; r < rows.count; ++r) {
      T* const row = buffer + r * rows.lanes;
      const T* const values = tensor.read(start + r * norm_.channels, rows.lanes, row);
      if (values != row) std::copy_n(values, rows.lanes, row);
    }
    return buffer;
  }

  void store(const Dense<T>& tensor, int64_t start, const Rows& rows, const T* values) const {
    if (is_dense(rows)) return tensor.store(start, rows.count * rows.lanes, values);
    for (int64_t r = 0; r < rows.count; ++r) {
      tensor.store(start + r * norm_.channels, rows.lanes, values + r * rows.lanes);
    }
  }

  // Adds float sums to those of double precision: the former stay short.
  static void flush(A* VML_RESTRICT sums, double* VML_RESTRICT totals, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      totals[i] += sums[i];
      sums[i] = A(0);
    }
  }

  // From sums about each channel's first value: no cancellation where the mean is large.
  void write_statistics(const Dense<T>& x, const Slice& slice, double eps, A* means, A* rstds,
                        T* buffer, Workspace<A>& memory) const {
    A* const shift = memory.take(slice.count);
    A* const sum = memory.zeros(slice.count);
    A* const square = memory.zeros(slice.count);
    const int64_t first = slice.b * norm_.pixels * norm_.channels + slice.first;
    const T* const pixel = x.read(first, slice.count, buffer);
    for (int64_t c = 0; c < slice.count; ++c) shift[c] = value_of(pixel[c]);
    Workspace<double, Summing> totals(2 * slice.count);
    double* const sums = totals.zeros(slice.count);
    double* const squares = totals.zeros(slice.count);
    for_each_piece(slice, [&](int64_t start, Rows rows, int64_t) {
      moments(sum, square, read(x, start, rows, buffer), shift, rows);
      flush(sum, sums, slice.count);
      flush(square, squares, slice.count);
    });
    const int64_t per_group = norm_.per_group();
    const double n = static_cast<double>(norm_.pixels);
    for (int64_t c = 0; c < slice.count; c += per_group) {
      double mean = 0.0, spread = 0.0;
      for (int64_t k = c; k < c + per_group; ++k) mean += (shift[k] + sums[k] / n) / per_group;
      for (int64_t k = c; k < c + per_group; ++k) {
        const double from_mean = shift[k] + sums[k] / n - mean;
        spread += squares[k] - sums[k] * sums[k] / n + n * from_mean * from_mean;
      }
      const auto statistics = statistics_of<A>(mean, spread / (n * per_group), eps);
      means[group_of(slice, c)] = statistics.mean;
      rstds[group_of(slice, c)] = statistics.rstd;
    }
  }

  // Index of the group of a slice's channel among those of all samples.
  int64_t group_of(const Slice& slice, int64_t c) const {
    return slice.b * norm_.groups + (slice.first + c) / norm_.per_group();
  }

  // Per lane: z = (x - mean) gain + offset.
  Affine<A> constants(const Slice& slice, const A* means, const A* rstds,
                      Workspace<A>& memory) const {
    A* const mean = memory.take(slice.count);
    A* const gain = memory.take(slice.count);
    A* const offset = memory.take(slice.count);
    for (int64_t c = 0; c < slice.count; ++c) {
      const int64_t group = group_of(slice, c);
      mean[c] = means[group];
      gain[c] = rstds[group] * norm_.parameters.gain(slice.b, slice.first + c);
      offset[c] = norm_.parameters.offset(slice.b, slice.first + c);
    }
    return {mean, gain, offset};
  }

  // Per lane: dx = gain dz - constant - slope (x - mean).
  void write_terms(const Slice& slice, const A* rstds, const double* sums, const double* products,
                   A* constant, A* slope) const {
    const int64_t per_group = norm_.per_group();
    const double count = static_cast<double>(norm_.pixels) * per_group;
    for (int64_t c = 0; c < slice.count; c += per_group) {
      GroupSums<A> group;
      for (int64_t k = c; k < c + per_group; ++k) {
        group.add(norm_.parameters.gain(slice.b, slice.first + k), sums[k], products[k]);
      }
      const double rstd = rstds[group_of(slice, c)];
      std::fill_n(constant + c, per_group, group.constant(rstd, count));
      std::fill_n(slope + c, per_group, group.slope(rstd, count));
    }
  }

  GroupNorm<A> norm_;
};

}  // namespace vml_fast::cpu
