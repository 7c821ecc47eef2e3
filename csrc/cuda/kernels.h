// What starts the kernels of each op; <op>.cu defines it, bindings.cpp calls it with checked,
// non-empty operands.
#pragma once

#include "cuda/view.h"

namespace vml_fast::cuda {

struct BracketViews {
  View raw, x, v, cotangent;
};

void launch_mask_bracket(const Shape& shape, const BracketViews& views, const View& y,
                         const View& mask, const Table& coefficients, Stream stream);

void launch_block_mean_bracket(const Shape& shape, const BracketViews& views, const View& y,
                               int64_t factor, const Table& coefficients, Stream stream);

void launch_colorization_bracket(const Shape& shape, const BracketViews& views, const View& y,
                                 const Table& coefficients, Stream stream);

void launch_general_bracket(const Shape& shape, const BracketViews& views, const View& term,
                            const Table& coefficients, Stream stream);

// `prior` is null where it is not wanted.
void launch_denoised_stack(const Shape& shape, const View& raw, const View& x, const View& denoised,
                           const View* prior, const Table& coefficients, Stream stream);

// Complex operands (z, prior, target, out) are given as pairs of floats: inner = 1. `prior` and
// `beta` are null where there is no prior term.
struct FilterViews {
  View z, target, s, alpha, out;
  const View* prior;
  const View* beta;
  bool is_complex;
};

void launch_spectral_filter(const Shape& shape, const FilterViews& views, Stream stream);

void launch_update(const Shape& shape, const View& x, const View& v, const View& gradient,
                   const View& u, const Table& coefficients, Stream stream);

// Strides are 0 for a single sample.
struct Counters {
  const int64_t* seed;
  const int64_t* sample;
  const int64_t* draw;
  int64_t seed_stride, sample_stride;
};

void launch_transition(const Shape& shape, const View& denoised, const View& out,
                       const Table& sigma, const Counters& counters, Stream stream);

// words: (batch, blocks, 4).
void launch_philox_words(int64_t batch, int64_t blocks, int64_t* words, const Counters& counters,
                         Stream stream);

// `elements` numbers in rows of 2^bits; `to` may be `from`.
void launch_fwht(const float* from, float* to, int64_t elements, int bits, Stream stream);

// A (C,) or (B, C) parameter; no data where there is none.
struct Parameter {
  const void* data;
  Element element;
  int64_t batch, channel;
};

// What both passes of GroupNorm are given; mean and rstd are (B, groups).
struct GroupNorm {
  Shape shape;
  int64_t groups;
  Parameter weight, bias, scale, shift;
  bool activation, is_double;
};

struct Statistics {
  void* mean;
  void* rstd;
  int64_t mean_batch, mean_group, rstd_batch, rstd_group;  // strides
};

void launch_group_norm_silu_forward(const GroupNorm& norm, const View& x, const View& y,
                                    const Statistics& statistics, double eps, Stream stream);

void launch_group_norm_silu_backward(const GroupNorm& norm, const View& gradient, const View& x,
                                     const View& dx, const Statistics& statistics, Stream stream);

}  // namespace vml_fast::cuda
