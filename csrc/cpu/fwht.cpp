// Fast Walsh-Hadamard transform along the last dimension, orthonormal, natural order.
#include <torch/csrc/stable/library.h>

#include <cmath>

#include "cpu/clones.h"
#include "cpu/passes.h"
#include "cpu/shuffle.h"

namespace vml_fast::cpu {

namespace {

constexpr int64_t kSmall = 16;  // shortest length that is done in whole vectors
constexpr int64_t kInCache =
    4096;  // 16 KiB: all passes over this much run in the first-level cache

using Vector = float __attribute__((vector_size(32)));  // eight lanes

VML_INLINE void butterfly(float* VML_RESTRICT first, float* VML_RESTRICT second, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = first[i], b = second[i];
    first[i] = a + b;
    second[i] = a - b;
  }
}

// Two levels of butterflies in one pass over four quarters.
VML_INLINE void double_butterfly(float* VML_RESTRICT q0, float* VML_RESTRICT q1,
                                 float* VML_RESTRICT q2, float* VML_RESTRICT q3, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const float a = q0[i] + q2[i], b = q1[i] + q3[i], c = q0[i] - q2[i], d = q1[i] - q3[i];
    q0[i] = a + b;
    q1[i] = a - b;
    q2[i] = c + d;
    q3[i] = c - d;
  }
}

// Butterflies of the halves 4, 2 and 1 inside a vector: swapped lanes plus signed ones.
VML_INLINE void lane_butterflies(Vector& v) {
  constexpr Vector sign4 = {1, 1, 1, 1, -1, -1, -1, -1};
  constexpr Vector sign2 = {1, 1, -1, -1, 1, 1, -1, -1};
  constexpr Vector sign1 = {1, -1, 1, -1, 1, -1, 1, -1};
  v = VML_SHUFFLE(v, v, 4, 5, 6, 7, 0, 1, 2, 3) + sign4 * v;
  v = VML_SHUFFLE(v, v, 2, 3, 0, 1, 6, 7, 4, 5) + sign2 * v;
  v = VML_SHUFFLE(v, v, 1, 0, 3, 2, 5, 4, 7, 6) + sign1 * v;
}

VML_INLINE void small_transforms(float* data, int64_t n, float scale) {
  for (int64_t start = 0; start < n; start += kSmall) {
    Vector first, second;
    __builtin_memcpy(&first, data + start, sizeof(Vector));
    __builtin_memcpy(&second, data + start + 8, sizeof(Vector));
    Vector sum = scale * (first + second), difference = scale * (first - second);
    lane_butterflies(sum);
    lane_butterflies(difference);
    __builtin_memcpy(data + start, &sum, sizeof(Vector));
    __builtin_memcpy(data + start + 8, &difference, sizeof(Vector));
  }
}

VML_INLINE void tiny_transform(float* data, int64_t n, float scale) {
  for (int64_t i = 0; i < n; ++i) data[i] *= scale;
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t start = 0; start < n; start += 2 * half) {
      butterfly(data + start, data + start + half, half);
    }
  }
}

}  // namespace

// Unscaled passes with the halves n/2, n/4, ... down to `stop` (included).
VML_CLONES void wide_passes(float* data, int64_t n, int64_t stop) {
  int64_t half = n / 2;
  for (; half / 2 >= stop; half /= 4) {
    for (int64_t start = 0; start < n; start += 2 * half) {
      float* q = data + start;
      double_butterfly(q, q + half / 2, q + half, q + half / 2 * 3, half / 2);
    }
  }
  for (; half >= stop; half /= 2) {
    for (int64_t start = 0; start < n; start += 2 * half) {
      butterfly(data + start, data + start + half, half);
    }
  }
}

VML_CLONES void narrow_passes(float* data, int64_t n, float scale) {
  if (n < kSmall) return tiny_transform(data, n, scale);
  small_transforms(data, n, scale);
}

void transform(float* data, int64_t n, float scale) {
  if (n > kInCache) {  // the widest passes stream; what is left fits the cache piece by piece
    wide_passes(data, n, kInCache);
    for (int64_t start = 0; start < n; start += kInCache) {
      wide_passes(data + start, kInCache, kSmall);
      narrow_passes(data + start, kInCache, scale);
    }
    return;
  }
  if (n > kSmall) wide_passes(data, n, kSmall);
  narrow_passes(data, n, scale);
}

Tensor fwht(const Tensor& x) {
  check_fwht(x);
  const Tensor in = torch::stable::contiguous(x);
  Tensor out = torch::stable::new_empty(x, x.sizes());
  const int64_t n = x.size(x.dim() - 1);
  const float* from = static_cast<const float*>(in.data_ptr());
  float* to = static_cast<float*>(out.data_ptr());
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(n)));
  share_tiles(x.numel() / n, n, [&](int64_t row) {
    std::copy_n(from + row * n, n, to + row * n);
    transform(to + row * n, n, scale);
  });
  return out;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("fwht", TORCH_BOX(&vml_fast::cpu::fwht));
}
