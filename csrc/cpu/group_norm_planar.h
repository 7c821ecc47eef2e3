// GroupNorm + SiLU on contiguous tensors, where a group is one stretch of memory.
#pragma once

#include "cpu/group_norm.h"

namespace vml_fast::cpu {

// Two sums over many lines: float parts stay short, long ones are double.
template <typename A>
class LineSums {
 public:
  // To be added to by a loop over n elements.
  Parts<A>& parts(int64_t n) {
    if (pending_ + n > kStage) flush();
    pending_ += n;
    return parts_;
  }

  double first() { return flush().first_; }
  double second() { return flush().second_; }

 private:
  const LineSums& flush() {
    if (pending_ > 0) {
      for (int half = kParts / 2; half > 0; half /= 2) {  // a tree: a chain would wait on each sum
        for (int k = 0; k < half; ++k) {
          parts_.first[k] += parts_.first[k + half];
          parts_.second[k] += parts_.second[k + half];
        }
      }
      first_ += parts_.first[0];
      second_ += parts_.second[0];
      parts_ = {};
      pending_ = 0;
    }
    return *this;
  }

  alignas(64) Parts<A> parts_ = {};
  int64_t pending_ = 0;
  double first_ = 0.0, second_ = 0.0;
};

template <typename T>
class PlanarGroupNorm {
 public:
  using A = Arithmetic<T>;

  explicit PlanarGroupNorm(const GroupNorm<A>& norm)
      : norm_(norm), count_(norm.per_group() * norm.pixels) {}

  void forward(const Dense<T>& x, const Dense<T>& y, double eps, A* means, A* rstds) const {
    share_tiles(norm_.samples * norm_.groups, count_, [&](int64_t group) {
      const Statistics<A> statistics = of_group(x, group, eps);
      means[group] = statistics.mean;
      rstds[group] = statistics.rstd;
      alignas(64) T in[kStage], out[kStage];
      // The next group is on its way to the cache by the time its mean is asked for.
      const int64_t ahead = x.is_direct() ? count_ : 0;
      for_each_line(group, statistics, [&](int64_t start, int64_t n, Line<A> line, A) {
        T* const values = y.target(start, out);
        line_apply(values, x.read(start, n, in), line, n, ahead, norm_.activation);
        y.store(start, n, values);
      });
    });
  }

  // Two sweeps: sums of dxhat = weight gradient silu'(z), then dx. The second one finds dxhat of
  // the first in the cache, or computes it again where it would not fit.
  void backward(const Dense<T>& gradient, const Dense<T>& x, const Dense<T>& dx, const A* means,
                const A* rstds) const {
    const bool keeps = count_ <= kKept;
    share_tiles(norm_.samples * norm_.groups, count_, [&](int64_t group) {
      alignas(64) T x_buffer[kStage], buffer[kStage];
      A* const kept = Workspace<A>(keeps ? count_ : kStage).take(0);
      const Statistics<A> statistics{means[group], rstds[group]};
      const auto dxhat_at = [&](int64_t start) {
        return keeps ? kept + start - group * count_ : kept;
      };
      LineSums<A> sums;
      const auto find = [&](int64_t start, int64_t n, Line<A> line, A weight) {
        line_through_silu(dxhat_at(start), sums.parts(n), gradient.read(start, n, buffer),
                          x.read(start, n, x_buffer), line, weight, n, norm_.activation);
      };
      for_each_line(group, statistics, find);
      const GroupSums<A> of_group{sums.first(), sums.second()};
      const A constant = of_group.constant(statistics.rstd, count_);
      const A slope = of_group.slope(statistics.rstd, count_);
      const auto write = [&](int64_t start, int64_t n, Line<A>, A) {
        T* const result = dx.target(start, buffer);
        line_input_gradient(result, dxhat_at(start), x.read(start, n, x_buffer), statistics.mean,
                            statistics.rstd, constant, slope, n);
        dx.store(start, n, result);
      };
      if (keeps) return for_each_line(group, statistics, write);  // cut as dxhat was
      for_each_line(group, statistics, [&](int64_t start, int64_t n, Line<A> line, A weight) {
        find(start, n, line, weight);
        write(start, n, line, weight);
      });
    });
  }

 private:
  // From sums about the group's first value: no cancellation where the mean is large.
  Statistics<A> of_group(const Dense<T>& x, int64_t group, double eps) const {
    alignas(64) T buffer[kStage];
    const A shift = value_of(*x.read(group * count_, 1, buffer));
    LineSums<A> sums;
    for_each_piece(group * count_, count_, [&](int64_t start, int64_t n) {
      line_moments(sums.parts(n), x.read(start, n, buffer), shift, n);
    });
    const double from_shift = sums.first() / count_;
    const double variance = sums.second() / count_ - from_shift * from_shift;
    return statistics_of<A>(shift + from_shift, variance, eps);
  }

  // Calls f(start, n, constants, weight) for every line of a group: one channel each.
  template <typename F>
  void for_each_line(int64_t group, const Statistics<A>& statistics, const F& f) const {
    const int64_t b = group / norm_.groups;
    const int64_t first = group % norm_.groups * norm_.per_group();
    for (int64_t c = first; c < first + norm_.per_group(); ++c) {
      const A weight = norm_.parameters.gain(b, c);
      const Line<A> line{statistics.mean, statistics.rstd * weight, norm_.parameters.offset(b, c)};
      for_each_piece((b * norm_.channels + c) * norm_.pixels, norm_.pixels,
                     [&](int64_t start, int64_t n) { f(start, n, line, weight); });
    }
  }

  template <typename F>
  static void for_each_piece(int64_t first, int64_t count, const F& f) {
    for (int64_t done = 0; done < count; done += kStage) {
      f(first + done, std::min(kStage, count - done));
    }
  }

  GroupNorm<A> norm_;
  int64_t count_;
};

}  // namespace vml_fast::cpu
