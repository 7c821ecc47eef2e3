// Plane by plane: rows, then for every kLanes columns there, the filter, and back, then rows. The
// spectrum of a plane stays in the second-level cache, that of the columns in the first.
//
// Of a plane's half spectrum the columns 0 < w < W / 2 are complex. The rows of column 0 and those
// of column W / 2 are real: the two travel as the real and imaginary part of one column.
#include "cpu/fourier_filter.h"

#include <cmath>

#include "cpu/clones.h"
#include "cpu/fourier.h"
#include "cpu/plane_operand.h"
#include "cpu/plane_spectrum.h"

namespace vml_fast::cpu {

namespace {

constexpr int64_t kLeast = 2 * kLanes;
constexpr int64_t kMost = 1024;  // a thread keeps the memory of two spectra

bool is_length(int64_t n) {
  return n >= kLeast && n <= kMost && (n & (n - 1)) == 0;
}

struct Filter {
  PlaneOperand target, s, alpha, beta;
  bool has_prior;
  float norm;  // of the inverse transform
};

// One column of complex numbers.
struct Column {
  float* re;
  float* im;
};

// z0 <- norm (alpha (target - s z0) + beta z1) for kLanes columns from w on, in the order of
// `position`. kDense: the operands' columns follow each other.
template <bool kDense, bool kPrior>
VML_INLINE void filter_block(float* re, float* im, const float* prior_re, const float* prior_im,
                             const Filter& f, int64_t w, const int32_t* position, int64_t height) {
  const int64_t target_column = kDense ? 2 : f.target.column, s_column = kDense ? 1 : f.s.column;
  const int64_t alpha_column = kDense ? 1 : f.alpha.column,
                beta_column = kDense ? 1 : f.beta.column;
  for (int64_t h = 0; h < height; ++h) {
    const int64_t at = position[h] * kLanes;
    const float* const target = f.target.at(h, w);
    const float* const s = f.s.at(h, w);
    const float* const alpha = f.alpha.at(h, w);
    const float* const beta = f.beta.at(h, w);
    float* const r = re + at;
    float* const i = im + at;
#pragma GCC ivdep
    for (int64_t k = 0; k < kLanes; ++k) {
      const float value = s[k * s_column], scaled = f.norm * alpha[k * alpha_column];
      float real = scaled * (target[k * target_column] - value * r[k]);
      float imaginary = scaled * (target[k * target_column + 1] - value * i[k]);
      if constexpr (kPrior) {
        const float weight = value != 0.0f ? f.norm * beta[k * beta_column] : 0.0f;
        real += weight * prior_re[at + k];
        imaginary += weight * prior_im[at + k];
      }
      r[k] = real;
      i[k] = imaginary;
    }
  }
}

}  // namespace

VML_CLONES void filter_columns(float* re, float* im, const Filter& f, int64_t w,
                               const int32_t* position, int64_t height) {
  const bool is_dense = f.target.column == 2 && f.s.column == 1 && f.alpha.column == 1;
  is_dense ? filter_block<true, false>(re, im, nullptr, nullptr, f, w, position, height)
           : filter_block<false, false>(re, im, nullptr, nullptr, f, w, position, height);
}

VML_CLONES void filter_columns_with_prior(float* re, float* im, const float* prior_re,
                                          const float* prior_im, const Filter& f, int64_t w,
                                          const int32_t* position, int64_t height) {
  const bool is_dense =
      f.target.column == 2 && f.s.column == 1 && f.alpha.column == 1 && f.beta.column == 1;
  is_dense ? filter_block<true, true>(re, im, prior_re, prior_im, f, w, position, height)
           : filter_block<false, true>(re, im, prior_re, prior_im, f, w, position, height);
}

namespace {

// The parts of column 0 and column W / 2 from the two as one, whose transforms are Hermitian.
void part_columns(const float* re, const float* im, const int32_t* position, int64_t height,
                  const Column& first, const Column& last) {
  for (int64_t h = 0; h < height; ++h) {
    const int64_t at = position[h] * kLanes, mirror = position[(height - h) % height] * kLanes;
    first.re[h] = 0.5f * (re[at] + re[mirror]);
    first.im[h] = 0.5f * (im[at] - im[mirror]);
    last.re[h] = 0.5f * (im[at] + im[mirror]);
    last.im[h] = 0.5f * (re[mirror] - re[at]);
  }
}

// The two columns as one again; of what is not Hermitian a real transform reads its projection.
void join_columns(float* re, float* im, const int32_t* position, int64_t height,
                  const Column& first, const Column& last) {
  for (int64_t h = 0; h < height; ++h) {
    const int64_t at = position[h] * kLanes, mirror = (height - h) % height;
    const float first_re = 0.5f * (first.re[h] + first.re[mirror]);
    const float first_im = 0.5f * (first.im[h] - first.im[mirror]);
    const float last_re = 0.5f * (last.re[h] + last.re[mirror]);
    const float last_im = 0.5f * (last.im[h] - last.im[mirror]);
    re[at] = first_re - last_im;
    im[at] = first_im + last_re;
  }
}

// z0 <- norm (alpha (target - s z0) + beta z1) for column w.
void filter_column(const Column& z, const Column& prior, const Filter& f, int64_t w,
                   int64_t height) {
  for (int64_t h = 0; h < height; ++h) {
    const float alpha = f.norm * *f.alpha.at(h, w), s = *f.s.at(h, w);
    const float* const target = f.target.at(h, w);
    z.re[h] = alpha * (target[0] - s * z.re[h]);
    z.im[h] = alpha * (target[1] - s * z.im[h]);
    if (!f.has_prior || s == 0.0f) continue;
    const float beta = f.norm * *f.beta.at(h, w);
    z.re[h] += beta * prior.re[h];
    z.im[h] += beta * prior.im[h];
  }
}

// The filter on a transformed plane, and the columns' transforms around it.
class ColumnStage {
 public:
  ColumnStage(const PlaneShape& shape, bool has_prior)
      : shape_(shape), tables_(fourier_tables(shape.height)), has_prior_(has_prior) {
    numbers_.resize(8 * shape.height);
  }

  void operator()(float* spectrum, float* prior, const Filter& f) {
    const int32_t* const position = tables_.position.data();
    const int64_t height = shape_.height;
    for (int64_t block = 0; block < shape_.blocks(); ++block) {
      float* const re = spectrum + shape_.block(block);
      float* const im = re + shape_.imaginary();
      float* const prior_re = has_prior_ ? prior + shape_.block(block) : nullptr;
      float* const prior_im = has_prior_ ? prior_re + shape_.imaginary() : nullptr;
      fourier_forward(re, im, tables_);
      if (has_prior_) fourier_forward(prior_re, prior_im, tables_);
      const Column first = column(0), last = column(1);
      if (block == 0) {
        part_columns(re, im, position, height, first, last);
        if (has_prior_) part_columns(prior_re, prior_im, position, height, column(2), column(3));
      }
      if (has_prior_) {
        filter_columns_with_prior(re, im, prior_re, prior_im, f, block * kLanes, position, height);
      } else {
        filter_columns(re, im, f, block * kLanes, position, height);
      }
      if (block == 0) {
        filter_column(first, column(2), f, 0, height);
        filter_column(last, column(3), f, shape_.width / 2, height);
        join_columns(re, im, position, height, first, last);
      }
      fourier_inverse(re, im, tables_);
    }
  }

 private:
  Column column(int64_t i) {
    float* const re = numbers_.data() + 2 * i * shape_.height;
    return {re, re + shape_.height};
  }

  PlaneShape shape_;
  const FourierTables& tables_;
  bool has_prior_;
  std::vector<float> numbers_;
};

}  // namespace

bool has_fourier_filter(int64_t height, int64_t width) {
  return is_length(height) && is_length(width);
}

Tensor fourier_filter(const Tensor& stack, const Tensor& target, const Tensor& s,
                      const Tensor& alpha, const std::optional<Tensor>& beta) {
  const int64_t samples = stack.size(1), channels = stack.size(2);
  const PlaneShape shape{stack.size(3), stack.size(4)};
  const bool has_prior = beta.has_value();
  Tensor out = torch::stable::new_empty(stack, {samples, channels, shape.height, shape.width});
  const float* const planes = static_cast<const float*>(stack.data_ptr());
  float* const results = static_cast<float*>(out.data_ptr());
  const float norm = 1.0f / std::sqrt(static_cast<float>(shape.pixels()));
  share_tiles(samples * channels, shape.pixels(), [&](int64_t plane) {
    thread_local AlignedFloats memory;
    memory.reserve((has_prior ? 2 : 1) * shape.spectrum() + RowStage::scratch(shape));
    float* const spectrum = memory.data();
    float* const prior = spectrum + (has_prior ? shape.spectrum() : 0);
    const RowStage rows(shape, prior + shape.spectrum());
    const int64_t b = plane / channels, c = plane % channels, offset = plane * shape.pixels();
    const Filter filter{{target, b, c, 2}, {s, b, c, 1},
                        {alpha, b, c, 1},  {has_prior ? *beta : alpha, b, c, 1},
                        has_prior,         norm};
    const bool dense = filter.target.column == 2 && filter.target.row == 2 * (shape.width / 2 + 1);
    Soon soon(filter.target.data, dense ? shape.height * filter.target.row : 0, rows.steps());
    rows.forward(spectrum, planes + offset, norm, soon);
    if (has_prior) rows.forward(prior, planes + out.numel() + offset, norm, soon);
    ColumnStage(shape, has_prior)(spectrum, prior, filter);
    rows.inverse(results + offset, spectrum);
  });
  return out;
}

}  // namespace vml_fast::cpu
