// In-place passes of radix 4, after one of radix 2 where the length is no power of four. Forward is
// by decimation in frequency, inverse undoes pass after pass, so that no pass restores an order.
#include "cpu/fourier.h"

#include <cmath>
#include <map>
#include <mutex>
#include <numbers>

#include "cpu/clones.h"

namespace vml_fast::cpu {

namespace {

// How many sequences of half or a quarter of the length the first pass makes of one.
int64_t first_radix(int64_t n) {
  int bits = 0;
  while ((int64_t{1} << bits) < n) ++bits;
  return bits % 2 == 0 ? 4 : 2;
}

void add_factors(std::vector<float>& factors, int64_t length, int64_t radix) {
  for (int64_t p = 0; p < length / radix; ++p) {
    for (int64_t j = 1; j < radix; ++j) {
      const double angle = -2.0 * std::numbers::pi * static_cast<double>(j * p) / length;
      factors.push_back(static_cast<float>(std::cos(angle)));
      factors.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

// A pass of radix r leaves the frequencies r f + j of a sequence as sequence j of its parts.
FourierTables make_tables(int64_t n) {
  FourierTables tables{n, {}, std::vector<int32_t>(n)};
  std::vector<int64_t> frequency(n, 0);
  int64_t spacing = 1;
  for (int64_t length = n, radix = first_radix(n); length > 1; radix = 4) {
    add_factors(tables.factors, length, radix);
    const int64_t part = length / radix;
    for (int64_t i = 0; i < n; ++i) frequency[i] += spacing * (i % length / part);
    spacing *= radix;
    length = part;
  }
  for (int64_t i = 0; i < n; ++i) tables.position[frequency[i]] = static_cast<int32_t>(i);
  return tables;
}

// (a + i b)(c + i d), or by the conjugate of the factor.
template <bool kConjugate>
VML_INLINE void multiply(float& a, float& b, float c, float d) {
  const float real = kConjugate ? a * c + b * d : a * c - b * d;
  b = kConjugate ? b * c - a * d : b * c + a * d;
  a = real;
}

template <bool kInverse>
VML_INLINE void pass2(float* re, float* im, int64_t n, int64_t length, const float* factors) {
  const int64_t step = length / 2 * kLanes;
  for (int64_t start = 0; start < n * kLanes; start += length * kLanes) {
    for (int64_t p = 0; p < length / 2; ++p) {
      float* const r = re + start + p * kLanes;
      float* const i = im + start + p * kLanes;
      const float c = factors[2 * p], d = factors[2 * p + 1];
#pragma GCC ivdep
      for (int64_t k = 0; k < kLanes; ++k) {
        float r1 = r[k + step], i1 = i[k + step];
        if constexpr (kInverse) multiply<true>(r1, i1, c, d);
        float difference = r[k] - r1, imaginary = i[k] - i1;
        r[k] += r1;
        i[k] += i1;
        if constexpr (!kInverse) multiply<false>(difference, imaginary, c, d);
        r[k + step] = difference;
        i[k + step] = imaginary;
      }
    }
  }
}

// kTurned: there are factors besides 1.
template <bool kInverse, bool kTurned>
VML_INLINE void pass4(float* re, float* im, int64_t n, int64_t length, const float* factors) {
  constexpr float kSign = kInverse ? -1.0f : 1.0f;
  const int64_t step = length / 4 * kLanes;
  for (int64_t start = 0; start < n * kLanes; start += length * kLanes) {
    for (int64_t p = 0; p < length / 4; ++p) {
      float* const r = re + start + p * kLanes;
      float* const i = im + start + p * kLanes;
      const float* const f = factors + 6 * p;
#pragma GCC ivdep
      for (int64_t k = 0; k < kLanes; ++k) {
        float r1 = r[k + step], r2 = r[k + 2 * step], r3 = r[k + 3 * step];
        float i1 = i[k + step], i2 = i[k + 2 * step], i3 = i[k + 3 * step];
        if constexpr (kInverse && kTurned) {
          multiply<true>(r1, i1, f[0], f[1]);
          multiply<true>(r2, i2, f[2], f[3]);
          multiply<true>(r3, i3, f[4], f[5]);
        }
        const float even_r = r[k] + r2, even_i = i[k] + i2;
        const float odd_r = r[k] - r2, odd_i = i[k] - i2;
        const float sum_r = r1 + r3, sum_i = i1 + i3;
        const float turned_r = kSign * (i1 - i3), turned_i = kSign * (r3 - r1);  // -i (x1 - x3)
        r[k] = even_r + sum_r;
        i[k] = even_i + sum_i;
        r1 = odd_r + turned_r;
        i1 = odd_i + turned_i;
        r2 = even_r - sum_r;
        i2 = even_i - sum_i;
        r3 = odd_r - turned_r;
        i3 = odd_i - turned_i;
        if constexpr (!kInverse && kTurned) {
          multiply<false>(r1, i1, f[0], f[1]);
          multiply<false>(r2, i2, f[2], f[3]);
          multiply<false>(r3, i3, f[4], f[5]);
        }
        r[k + step] = r1;
        i[k + step] = i1;
        r[k + 2 * step] = r2;
        i[k + 2 * step] = i2;
        r[k + 3 * step] = r3;
        i[k + 3 * step] = i3;
      }
    }
  }
}

VML_CLONES void forward(float* re, float* im, int64_t n, int64_t radix, const float* factors) {
  int64_t length = n;
  if (radix == 2) {
    pass2<false>(re, im, n, n, factors);
    factors += n;
    length = n / 2;
  }
  for (; length > 4; length /= 4) {
    pass4<false, true>(re, im, n, length, factors);
    factors += length / 4 * 6;
  }
  pass4<false, false>(re, im, n, 4, factors);
}

// `factors` ends with those of length 4.
VML_CLONES void inverse(float* re, float* im, int64_t n, int64_t radix, const float* end) {
  const int64_t longest = n / (radix == 2 ? 2 : 1);
  pass4<true, false>(re, im, n, 4, end);
  end -= 6;
  for (int64_t length = 16; length <= longest; length *= 4) {
    end -= length / 4 * 6;
    pass4<true, true>(re, im, n, length, end);
  }
  if (radix == 2) pass2<true>(re, im, n, n, end - n);
}

}  // namespace

const FourierTables& fourier_tables(int64_t n) {
  static std::mutex mutex;
  static std::map<int64_t, FourierTables> made;
  const std::lock_guard lock(mutex);
  const auto found = made.find(n);
  return found != made.end() ? found->second : made.emplace(n, make_tables(n)).first->second;
}

void fourier_forward(float* re, float* im, const FourierTables& tables) {
  forward(re, im, tables.n, first_radix(tables.n), tables.factors.data());
}

void fourier_inverse(float* re, float* im, const FourierTables& tables) {
  inverse(re, im, tables.n, first_radix(tables.n), tables.factors.data() + tables.factors.size());
}

}  // namespace vml_fast::cpu
