#include "cpu/small_factors.h"

#include "cpu/clones.h"

namespace vml_fast::cpu {

namespace {

void fill(const Matrix& m, const Tensor& from, bool transposed) {
  fill(m, static_cast<const float*>(from.data_ptr()), from.stride(transposed ? 1 : 0),
       from.stride(transposed ? 0 : 1));
}

}  // namespace

VML_CLONES void filter_row(float* VML_RESTRICT z, const float* VML_RESTRICT target,
                           const float* VML_RESTRICT s, const float* VML_RESTRICT alpha,
                           int64_t n) {
  for (int64_t k = 0; k < n; ++k) z[k] = alpha[k] * (target[k] - s[k] * z[k]);
}

void PlaneFilter::operator()(const Matrix& z) const {
  const bool is_dense = target.column == 1 && s.column == 1 && alpha.column == 1;
  for (int64_t j = 0; j < z.columns; j += z.width) {
    const int64_t n = z.row_stride(j);
    for (int64_t h = 0; h < z.rows; ++h) {
      float* const row = z.at(h, j);
      if (is_dense) {
        filter_row(row, target.at(h, j), s.at(h, j), alpha.at(h, j), n);
        continue;
      }
      for (int64_t k = 0; k < n; ++k) {
        row[k] = *alpha.at(h, j + k) * (*target.at(h, j + k) - *s.at(h, j + k) * row[k]);
      }
    }
  }
}

bool SmallFactors::take(const Tensor& rows_v, const Tensor& columns_v) {
  constexpr int64_t kMost = 1 << 15;  // numbers
  for (const Tensor* factor : {&rows_v, &columns_v}) {
    if (factor->numel() > kMost || !is_multiplied(factor->size(0)) ||
        !is_multiplied(factor->size(1))) {
      return false;
    }
  }
  return can_multiply();
}

SmallFactors::SmallFactors(const Tensor& rows_v, const Tensor& columns_v)
    : height_(rows_v.size(0)),
      rank_h_(rows_v.size(1)),
      width_(columns_v.size(0)),
      rank_w_(columns_v.size(1)),
      memory_(2 * (rows_v.numel() + columns_v.numel())) {
  float* next = memory_.data();
  const auto place = [&](int64_t rows, int64_t columns, bool paneled) {
    float* const data = next;
    next += rows * columns;
    return paneled ? Matrix::paneled(data, rows, columns) : Matrix::plain(data, rows, columns);
  };
  fill(rows_ = place(height_, rank_h_, false), rows_v, false);
  fill(rows_t_ = place(rank_h_, height_, false), rows_v, true);
  fill(columns_ = place(width_, rank_w_, true), columns_v, false);
  fill(columns_t_ = place(rank_w_, width_, true), columns_v, true);
}

void SmallFactors::bracket(const BracketPlanes& results, const ImagePair& images,
                           const PlaneFilter& filter) const {
  thread_local AlignedFloats memory;
  memory.reserve((height_ + rank_h_) * rank_w_);
  const Matrix half = Matrix::paneled(memory.data(), height_, rank_w_);
  const Matrix z = Matrix::paneled(memory.data() + half.size(), rank_h_, rank_w_);
  multiply_denoised(half, images, columns_);
  multiply(z, rows_t_, half);
  filter(z);
  multiply(half, rows_, z);
  multiply_bracket(results, half, columns_t_);
}

}  // namespace vml_fast::cpu
