#include "cpu/group_norm_loops.h"

#include <bit>
#include <type_traits>

#include "cpu/clones.h"
#include "cpu/math.h"

namespace vml_fast::cpu {

namespace {

// For tensors of T: bfloat16 keeps 8 bits of a number, so that 17 are exact enough.
template <typename T, typename A>
VML_INLINE A sigmoid(A z) {
  if constexpr (std::is_same_v<T, BFloat16Bits>) {
    return reciprocal<2>(A(1) + rough_exp_clamped(-z));
  } else {
    return reciprocal(A(1) + exp_clamped(-z));
  }
}

template <typename T, typename A>
VML_INLINE A silu_gradient(A z) {
  const A s = sigmoid<T>(z);
  return s * (A(1) + z * (A(1) - s));
}

// --- rows of a channels-last image ---------------------------------------------------------------

template <typename A, typename T>
VML_INLINE void moments_rows(A* VML_RESTRICT sum, A* VML_RESTRICT square, const T* VML_RESTRICT x,
                             const A* VML_RESTRICT shift, Rows rows) {
  for (int64_t r = 0; r < rows.count; ++r) {
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[r * rows.lanes + i]) - shift[i];
      sum[i] += d;
      square[i] += d * d;
    }
  }
}

template <bool kActivation, typename A, typename T>
VML_INLINE void apply_rows(T* VML_RESTRICT y, const T* VML_RESTRICT x, Affine<A> a, Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A z = (value_of(x[start + i]) - mean[i]) * gain[i] + offset[i];
      y[start + i] = Rounded<T>::from_quiet(kActivation ? z * sigmoid<T>(z) : z);
    }
  }
}

template <bool kActivation, typename A, typename T>
VML_INLINE void through_silu_rows(A* VML_RESTRICT dz, A* VML_RESTRICT sum, A* VML_RESTRICT product,
                                  const T* VML_RESTRICT gradient, const T* VML_RESTRICT x,
                                  Affine<A> a, Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  const A* VML_RESTRICT offset = a.offset;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[start + i]) - mean[i];
      const A slope = kActivation ? silu_gradient<T>(d * gain[i] + offset[i]) : A(1);
      const A value = value_of(gradient[start + i]) * slope;
      dz[start + i] = value;
      sum[i] += value;
      product[i] += value * d;
    }
  }
}

template <typename A, typename T>
VML_INLINE void input_gradient_rows(T* VML_RESTRICT dx, const A* VML_RESTRICT dz,
                                    const T* VML_RESTRICT x, Affine<A> a,
                                    const A* VML_RESTRICT constant, const A* VML_RESTRICT slope,
                                    Rows rows) {
  const A* VML_RESTRICT mean = a.mean;
  const A* VML_RESTRICT gain = a.gain;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t start = r * rows.lanes;
    for (int64_t i = 0; i < rows.lanes; ++i) {
      const A d = value_of(x[start + i]) - mean[i];
      dx[start + i] = Rounded<T>::from_quiet(gain[i] * dz[start + i] - constant[i] - slope[i] * d);
    }
  }
}

// --- lines of a plane ----------------------------------------------------------------------------

template <typename A>
struct Pair {
  A first, second;
};

constexpr int kPairs = kParts / 2;

// The k-th pair of kParts elements in a row: those k and kPairs + k.
template <typename T>
struct Pairs {
  static VML_INLINE Pair<T> load(const T* from, int k) { return {from[k], from[kPairs + k]}; }
  static VML_INLINE void store(T* to, int k, Pair<T> value) {
    to[k] = value.first;
    to[kPairs + k] = value.second;
  }
};

// Of bfloat16 the elements 2 k and 2 k + 1: the halves of a word, which lie in the right place, or
// nearly, to be the upper halves of two floats.
template <>
struct Pairs<BFloat16Bits> {
  using Word = uint32_t __attribute__((may_alias, aligned(alignof(BFloat16Bits))));

  static VML_INLINE Pair<float> load(const BFloat16Bits* from, int k) {
    const uint32_t word = reinterpret_cast<const Word*>(from)[k];
    return {std::bit_cast<float>(word << 16), std::bit_cast<float>(word & 0xFFFF0000u)};
  }
  static VML_INLINE void store(BFloat16Bits* to, int k, Pair<float> value) {
    const uint32_t first = rounded_quiet(value.first), second = rounded_quiet(value.second);
    reinterpret_cast<Word*>(to)[k] = first >> 16 | (second & 0xFFFF0000u);
  }
};

// Calls before(index of kParts elements), whole(that index, pair) for each of their pairs and, for
// what remains, single(index, its part).
template <typename Before, typename Whole, typename Single>
VML_INLINE void in_parts(int64_t n, const Before& before, const Whole& whole,
                         const Single& single) {
  int64_t i = 0;
  for (; i + kParts <= n; i += kParts) {
    before(i);
    for (int k = 0; k < kPairs; ++k) whole(i, k);
  }
  for (int k = 0; i + k < n; ++k) single(i + k, k);
}

#define VML_LAMBDA __attribute__((always_inline))

constexpr auto kNothing = [](int64_t) VML_LAMBDA {};

// Asks the memory for kParts elements while others are computed; any address will do.
template <typename T>
VML_INLINE void prefetch_parts(const T* from) {
  constexpr int kCacheLine = 64;
  for (size_t k = 0; k < kParts; k += kCacheLine / sizeof(T)) __builtin_prefetch(from + k, 0, 2);
}

// How far ahead of a loop that reads what no earlier one has read.
constexpr int64_t kAhead = 512;

template <typename A, typename T>
VML_INLINE void moments_line(Parts<A>& VML_RESTRICT sums, const T* VML_RESTRICT x, A shift,
                             int64_t n) {
  Parts<A> parts = sums;
  const auto add = [&](A value, int part) VML_LAMBDA {
    const A d = value - shift;
    parts.first[part] += d;
    parts.second[part] += d * d;
  };
  in_parts(
      n, kNothing,
      [&](int64_t i, int k) VML_LAMBDA {
        const auto pair = Pairs<T>::load(x + i, k);
        add(pair.first, k);
        add(pair.second, kPairs + k);
      },
      [&](int64_t i, int part) VML_LAMBDA { add(value_of(x[i]), part); });
  sums = parts;
}

template <bool kActivation, typename A, typename T>
VML_INLINE void apply_line(T* VML_RESTRICT y, const T* VML_RESTRICT x, Line<A> a, int64_t n,
                           int64_t ahead) {
  const auto result = [&](A value) VML_LAMBDA {
    const A z = (value - a.mean) * a.gain + a.offset;
    return kActivation ? z * sigmoid<T>(z) : z;
  };
  in_parts(
      n, [&](int64_t i) VML_LAMBDA { prefetch_parts(x + i + ahead); },
      [&](int64_t i, int k) VML_LAMBDA {
        const auto pair = Pairs<T>::load(x + i, k);
        Pairs<T>::store(y + i, k, {result(pair.first), result(pair.second)});
      },
      [&](int64_t i, int) VML_LAMBDA { y[i] = Rounded<T>::from_quiet(result(value_of(x[i]))); });
}

// dz lies in the order of the pairs.
template <bool kActivation, typename A, typename T>
VML_INLINE void through_silu_line(A* VML_RESTRICT dz, Parts<A>& VML_RESTRICT sums,
                                  const T* VML_RESTRICT gradient, const T* VML_RESTRICT x,
                                  Line<A> a, A weight, int64_t n) {
  Parts<A> parts = sums;
  const auto add = [&](A* to, A gradient_value, A value, int part) VML_LAMBDA {
    const A d = value - a.mean;
    const A slope = kActivation ? weight * silu_gradient<T>(d * a.gain + a.offset) : weight;
    const A result = gradient_value * slope;
    *to = result;
    parts.first[part] += result;
    parts.second[part] += result * d;
  };
  in_parts(
      n,
      [&](int64_t i) VML_LAMBDA {
        prefetch_parts(x + i + kAhead);
        prefetch_parts(gradient + i + kAhead);
      },
      [&](int64_t i, int k) VML_LAMBDA {
        const auto pair = Pairs<T>::load(x + i, k);
        const auto gradients = Pairs<T>::load(gradient + i, k);
        add(dz + i + k, gradients.first, pair.first, k);
        add(dz + i + kPairs + k, gradients.second, pair.second, kPairs + k);
      },
      [&](int64_t i, int part)
          VML_LAMBDA { add(dz + i, value_of(gradient[i]), value_of(x[i]), part); });
  sums = parts;
}

template <typename A, typename T>
VML_INLINE void input_gradient_line(T* VML_RESTRICT dx, const A* VML_RESTRICT dz,
                                    const T* VML_RESTRICT x, A mean, A gain, A constant, A slope,
                                    int64_t n) {
  const auto result = [&](A dz_value, A value) VML_LAMBDA {
    return gain * dz_value - constant - slope * (value - mean);
  };
  in_parts(
      n, kNothing,
      [&](int64_t i, int k) VML_LAMBDA {
        const auto pair = Pairs<T>::load(x + i, k);
        Pairs<T>::store(dx + i, k,
                        {result(dz[i + k], pair.first), result(dz[i + kPairs + k], pair.second)});
      },
      [&](int64_t i, int)
          VML_LAMBDA { dx[i] = Rounded<T>::from_quiet(result(dz[i], value_of(x[i]))); });
}

}  // namespace

// Named entry points for every type, compiled for every instruction set.
#define VML_FOR_TYPES(A, T)                                                                       \
  VML_CLONES void moments(A* sum, A* square, const T* x, const A* shift, Rows rows) {             \
    moments_rows(sum, square, x, shift, rows);                                                    \
  }                                                                                               \
  VML_CLONES void line_moments(Parts<A>& sums, const T* x, A shift, int64_t n) {                  \
    moments_line(sums, x, shift, n);                                                              \
  }                                                                                               \
  VML_CLONES void apply(T* y, const T* x, Affine<A> a, Rows rows, bool activation) {              \
    activation ? apply_rows<true>(y, x, a, rows) : apply_rows<false>(y, x, a, rows);              \
  }                                                                                               \
  VML_CLONES void line_apply(T* y, const T* x, Line<A> a, int64_t n, int64_t ahead,               \
                             bool activation) {                                                   \
    activation ? apply_line<true>(y, x, a, n, ahead) : apply_line<false>(y, x, a, n, ahead);      \
  }                                                                                               \
  VML_CLONES void through_silu(A* dz, A* sum, A* product, const T* gradient, const T* x,          \
                               Affine<A> a, Rows rows, bool activation) {                         \
    activation ? through_silu_rows<true>(dz, sum, product, gradient, x, a, rows)                  \
               : through_silu_rows<false>(dz, sum, product, gradient, x, a, rows);                \
  }                                                                                               \
  VML_CLONES void line_through_silu(A* dz, Parts<A>& sums, const T* gradient, const T* x,         \
                                    Line<A> a, A weight, int64_t n, bool activation) {            \
    activation ? through_silu_line<true>(dz, sums, gradient, x, a, weight, n)                     \
               : through_silu_line<false>(dz, sums, gradient, x, a, weight, n);                   \
  }                                                                                               \
  VML_CLONES void input_gradient(T* dx, const A* dz, const T* x, Affine<A> a, const A* constant,  \
                                 const A* slope, Rows rows) {                                     \
    input_gradient_rows(dx, dz, x, a, constant, slope, rows);                                     \
  }                                                                                               \
  VML_CLONES void line_input_gradient(T* dx, const A* dz, const T* x, A mean, A gain, A constant, \
                                      A slope, int64_t n) {                                       \
    input_gradient_line(dx, dz, x, mean, gain, constant, slope, n);                               \
  }

VML_FOR_TYPES(float, float)
VML_FOR_TYPES(float, BFloat16Bits)
VML_FOR_TYPES(double, double)
#undef VML_FOR_TYPES

}  // namespace vml_fast::cpu
