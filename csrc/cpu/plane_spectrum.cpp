#include "cpu/plane_spectrum.h"

#include "cpu/clones.h"
#include "cpu/shuffle.h"

namespace vml_fast::cpu {

namespace {

using Four = float __attribute__((vector_size(16), aligned(4), may_alias));

// Four rows as four columns.
VML_INLINE void transpose4(float* to, int64_t to_row, const float* from, int64_t from_row) {
  const auto row = [&](int64_t i) { return *reinterpret_cast<const Four*>(from + i * from_row); };
  const Four a = row(0), b = row(1), c = row(2), d = row(3);
  const Four ab_low = VML_SHUFFLE(a, b, 0, 4, 1, 5);
  const Four ab_high = VML_SHUFFLE(a, b, 2, 6, 3, 7);
  const Four cd_low = VML_SHUFFLE(c, d, 0, 4, 1, 5);
  const Four cd_high = VML_SHUFFLE(c, d, 2, 6, 3, 7);
  const auto store = [&](int64_t i, Four values) {
    *reinterpret_cast<Four*>(to + i * to_row) = values;
  };
  store(0, VML_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5));
  store(1, VML_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7));
  store(2, VML_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5));
  store(3, VML_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7));
}

// kLanes rows as kLanes columns.
VML_INLINE void transpose_tile(float* to, int64_t to_row, const float* from, int64_t from_row) {
  for (int64_t i = 0; i < kLanes; i += 4) {
    for (int64_t j = 0; j < kLanes; j += 4) {
      transpose4(to + j * to_row + i, to_row, from + i * from_row + j, from_row);
    }
  }
}

// Tiles of kLanes columns of two groups of rows, a and b: real and imaginary parts.
struct Tiles {
  alignas(64) float a_re[kLanes * kLanes], a_im[kLanes * kLanes];
  alignas(64) float b_re[kLanes * kLanes], b_im[kLanes * kLanes];
};

}  // namespace

VML_CLONES void rows_to_columns(float* re, float* im, const float* rows, int64_t width,
                                Soon& soon) {
  for (int64_t w = 0; w < width; w += kLanes) {
    soon.step();
    transpose_tile(re + w * kLanes, kLanes, rows + w, width);
    transpose_tile(im + w * kLanes, kLanes, rows + kLanes * width + w, width);
  }
}

VML_CLONES void columns_to_rows(float* rows, const float* re, const float* im, int64_t width) {
  for (int64_t w = 0; w < width; w += kLanes) {
    transpose_tile(rows + w, width, re + w * kLanes, kLanes);
    transpose_tile(rows + kLanes * width + w, width, im + w * kLanes, kLanes);
  }
}

// From Z = A + i B, A and B transforms of real rows: A = (Z[w] + conj Z[-w]) / 2, and i B the rest.
VML_CLONES void part_rows(float* spectrum, int64_t block, int64_t imaginary, const float* re,
                          const float* im, const int32_t* position, int64_t width, float norm,
                          Soon& soon) {
  Tiles tiles;
  const float half = 0.5f * norm;
  for (int64_t w0 = 0; w0 < width / 2; w0 += kLanes) {
    soon.step();
    for (int64_t j = 0; j < kLanes; ++j) {
      const int64_t w = w0 + j;
      const float* const r = re + position[w] * kLanes;
      const float* const i = im + position[w] * kLanes;
      const int64_t mirror = position[w == 0 ? width / 2 : width - w] * kLanes;
      const float* const mirror_r = re + mirror;
      const float* const mirror_i = im + mirror;
      float* VML_RESTRICT const a_re = tiles.a_re + j * kLanes;
      float* VML_RESTRICT const a_im = tiles.a_im + j * kLanes;
      float* VML_RESTRICT const b_re = tiles.b_re + j * kLanes;
      float* VML_RESTRICT const b_im = tiles.b_im + j * kLanes;
      if (w == 0) {  // both columns real
        for (int64_t k = 0; k < kLanes; ++k) {
          a_re[k] = norm * r[k];
          b_re[k] = norm * i[k];
          a_im[k] = norm * mirror_r[k];
          b_im[k] = norm * mirror_i[k];
        }
        continue;
      }
      for (int64_t k = 0; k < kLanes; ++k) {
        a_re[k] = half * (r[k] + mirror_r[k]);
        a_im[k] = half * (i[k] - mirror_i[k]);
        b_re[k] = half * (i[k] + mirror_i[k]);
        b_im[k] = half * (mirror_r[k] - r[k]);
      }
    }
    float* const real = spectrum + w0 / kLanes * block;
    transpose_tile(real, kLanes, tiles.a_re, kLanes);
    transpose_tile(real + imaginary, kLanes, tiles.a_im, kLanes);
    transpose_tile(real + kLanes * kLanes, kLanes, tiles.b_re, kLanes);
    transpose_tile(real + imaginary + kLanes * kLanes, kLanes, tiles.b_im, kLanes);
  }
}

// Z[w] = A[w] + i B[w] and Z[-w] = conj A[w] + i conj B[w].
VML_CLONES void join_rows(float* re, float* im, const float* spectrum, int64_t block,
                          int64_t imaginary, const int32_t* position, int64_t width) {
  Tiles tiles;
  for (int64_t w0 = 0; w0 < width / 2; w0 += kLanes) {
    const float* const real = spectrum + w0 / kLanes * block;
    transpose_tile(tiles.a_re, kLanes, real, kLanes);
    transpose_tile(tiles.a_im, kLanes, real + imaginary, kLanes);
    transpose_tile(tiles.b_re, kLanes, real + kLanes * kLanes, kLanes);
    transpose_tile(tiles.b_im, kLanes, real + imaginary + kLanes * kLanes, kLanes);
    for (int64_t j = 0; j < kLanes; ++j) {
      const int64_t w = w0 + j;
      float* VML_RESTRICT const r = re + position[w] * kLanes;
      float* VML_RESTRICT const i = im + position[w] * kLanes;
      const int64_t mirror = position[w == 0 ? width / 2 : width - w] * kLanes;
      float* VML_RESTRICT const mirror_r = re + mirror;
      float* VML_RESTRICT const mirror_i = im + mirror;
      const float* const a_re = tiles.a_re + j * kLanes;
      const float* const a_im = tiles.a_im + j * kLanes;
      const float* const b_re = tiles.b_re + j * kLanes;
      const float* const b_im = tiles.b_im + j * kLanes;
      if (w == 0) {  // both columns real
        for (int64_t k = 0; k < kLanes; ++k) {
          r[k] = a_re[k];
          i[k] = b_re[k];
          mirror_r[k] = a_im[k];
          mirror_i[k] = b_im[k];
        }
        continue;
      }
      for (int64_t k = 0; k < kLanes; ++k) {
        r[k] = a_re[k] - b_im[k];
        i[k] = a_im[k] + b_re[k];
        mirror_r[k] = a_re[k] + b_im[k];
        mirror_i[k] = b_re[k] - a_im[k];
      }
    }
  }
}

void RowStage::forward(float* spectrum, const float* plane, float norm, Soon& soon) const {
  for (int64_t h = 0; h < shape_.height; h += 2 * kLanes) {
    rows_to_columns(re_, im_, plane + h * shape_.width, shape_.width, soon);
    fourier_forward(re_, im_, tables_);
    part_rows(spectrum + h * kLanes, shape_.block(1), shape_.imaginary(), re_, im_,
              tables_.position.data(), shape_.width, norm, soon);
  }
}

void RowStage::inverse(float* plane, const float* spectrum) const {
  for (int64_t h = 0; h < shape_.height; h += 2 * kLanes) {
    join_rows(re_, im_, spectrum + h * kLanes, shape_.block(1), shape_.imaginary(),
              tables_.position.data(), shape_.width);
    fourier_inverse(re_, im_, tables_);
    columns_to_rows(plane + h * shape_.width, re_, im_, shape_.width);
  }
}

}  // namespace vml_fast::cpu
