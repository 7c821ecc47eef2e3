// Block-mean super-resolution: the mean of every factor x factor block is observed.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cpu/bracket.h"
#include "cpu/clones.h"
#include "cpu/parallel.h"

namespace vml_fast::cpu {

// Adds one row of D and D - x to the column sums of a row of blocks.
VML_CLONES void add_row(float* VML_RESTRICT denoised_sum, float* VML_RESTRICT prior_sum,
                        const float* VML_RESTRICT raw, const float* VML_RESTRICT x, int64_t n,
                        Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float denoised = c.denoised(raw[i], x[i]);
    denoised_sum[i] += denoised;
    prior_sum[i] += denoised - x[i];
  }
}

// From column sums to the block part of v, repeated over the columns of each block (in place).
template <typename Factor>
VML_INLINE void block_part(float* VML_RESTRICT part, const float* VML_RESTRICT denoised_sum,
                           const float* VML_RESTRICT y, int64_t blocks, Factor factor,
                           Coefficients c) {
  const float area = static_cast<float>(factor) * static_cast<float>(factor);
  const float data = c.alpha / static_cast<float>(factor);
  const float prior = (c.beta - c.beta_null) / area;
  for (int64_t j = 0; j < blocks; ++j) {
    float denoised = 0.0f, pull = 0.0f;
    for (int64_t k = 0; k < factor; ++k) {
      denoised += denoised_sum[j * factor + k];
      pull += part[j * factor + k];
    }
    const float value = data * (y[j] - denoised / area) + prior * pull;
    for (int64_t k = 0; k < factor; ++k) part[j * factor + k] = value;
  }
}

VML_CLONES void block_part_any(float* part, const float* denoised_sum, const float* y,
                               int64_t blocks, int64_t factor, Coefficients c) {
  switch (factor) {  // constants unroll the sums
    case 2:
      return block_part(part, denoised_sum, y, blocks, std::integral_constant<int64_t, 2>{}, c);
    case 4:
      return block_part(part, denoised_sum, y, blocks, std::integral_constant<int64_t, 4>{}, c);
    case 8:
      return block_part(part, denoised_sum, y, blocks, std::integral_constant<int64_t, 8>{}, c);
    default:
      return block_part(part, denoised_sum, y, blocks, factor, c);
  }
}

VML_CLONES void block_mean_row(float* VML_RESTRICT v, float* VML_RESTRICT cotangent,
                               const float* VML_RESTRICT raw, const float* VML_RESTRICT x,
                               const float* VML_RESTRICT part, int64_t n, Coefficients c) {
  for (int64_t i = 0; i < n; ++i) {
    const float prior = c.denoised(raw[i], x[i]) - x[i];
    const float value = c.beta_null * prior + part[i];
    v[i] = value;
    cotangent[i] = c.c_out * value;
  }
}

namespace {

// One row of blocks over whole blocks of columns: sums first, then the rows again.
class BlockRow {
 public:
  BlockRow(const std::vector<Operand>& operands, const Image& y, const CoefficientRows& rows,
           int64_t channels, int64_t factor, int64_t longest)
      : operands_(operands),
        y_(y),
        rows_(rows),
        channels_(channels),
        factor_(factor),
        longest_(longest),
        buffer_((operands.size() + 1) * channels * longest),
        sums_((2 * channels + 1) * longest) {}

  void operator()(Run run) {
    const Coefficients c = rows_[run.b];
    std::fill(sums_.begin(), sums_.end(), 0.0f);
    for_each_row(run, [&](const Stretch& s) {
      for (int64_t k = 0; k < channels_; ++k) {
        add_row(denoised_sum(k), part(k), s.read(kRaw, k), s.read(kX, k), s.n(), c);
      }
    });
    const int64_t blocks = run.n / factor_;
    const Run measured{run.b, run.h / factor_, run.w / factor_, blocks};
    float* const y_run = sums_.data() + 2 * channels_ * longest_;
    for (int64_t k = 0; k < channels_; ++k) {
      load_floats(y_run, y_.at(measured, k), y_.stride(3), blocks, y_.type());
      block_part_any(part(k), denoised_sum(k), y_run, blocks, factor_, c);
    }
    for_each_row(run, [&](const Stretch& s) {
      for (int64_t k = 0; k < channels_; ++k) {
        block_mean_row(s.write(kV, k), s.write(kCotangent, k), s.read(kRaw, k), s.read(kX, k),
                       part(k), s.n(), c);
      }
      s.commit();
    });
  }

 private:
  template <typename F>
  void for_each_row(Run run, const F& f) {
    for (int64_t i = 0; i < factor_; ++i, ++run.h) {
      f(Stretch(operands_, run, channels_, buffer_.data(), longest_));
    }
  }
  float* denoised_sum(int64_t c) { return sums_.data() + 2 * c * longest_; }
  float* part(int64_t c) { return denoised_sum(c) + longest_; }

  const std::vector<Operand>& operands_;
  const Image& y_;
  const CoefficientRows& rows_;
  int64_t channels_, factor_, longest_;
  std::vector<float> buffer_, sums_;
};

}  // namespace

Bracket block_mean_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, int64_t factor,
                           const Tensor& coefficients) {
  constexpr int64_t kLongest = 512;  // pixels of a row at a time, at least one block
  check_bracket(raw, x, coefficients);
  check_block_measurement(y, x, factor);
  const Bracket outputs = empty_bracket(raw, x);
  if (x.numel() == 0) return outputs;
  const std::vector<Operand> operands = bracket_operands(outputs, raw, x, {});
  const Image y_image(y);
  const CoefficientRows rows(coefficients);
  const int64_t channels = x.size(1), block_rows = y.size(2), width = x.size(3);
  const int64_t longest = std::min(width, std::max(factor, kLongest / factor * factor));
  const int64_t stretches = (width + longest - 1) / longest;
  const int64_t tiles = x.size(0) * block_rows * stretches;
  share_tiles(tiles, channels * factor * longest, [&](int64_t tile) {
    const int64_t w = tile % stretches * longest;
    const int64_t block_row = tile / stretches % block_rows;
    BlockRow(operands, y_image, rows, channels, factor, longest)(
        Run{tile / stretches / block_rows, block_row * factor, w, std::min(longest, width - w)});
  });
  return outputs;
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("block_mean_bracket", TORCH_BOX(&vml_fast::cpu::block_mean_bracket));
}
