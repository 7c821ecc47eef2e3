#include "cpu/image.h"

#include <algorithm>

#include "cpu/clones.h"
#include "cpu/parallel.h"

namespace vml_fast::cpu {

namespace {

constexpr int64_t kDirectRun = 4096;  // pixels of a stretch that needs no buffer
constexpr int64_t kBuffered = 1536;   // elements of one operand in a buffer: several fit the cache
constexpr int64_t kShortestRun = 64;

}  // namespace

VML_CLONES void deinterleave3(float* VML_RESTRICT c0, float* VML_RESTRICT c1,
                              float* VML_RESTRICT c2, const float* VML_RESTRICT from, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    c0[i] = from[3 * i];
    c1[i] = from[3 * i + 1];
    c2[i] = from[3 * i + 2];
  }
}

VML_CLONES void interleave3(float* VML_RESTRICT to, const float* VML_RESTRICT c0,
                            const float* VML_RESTRICT c1, const float* VML_RESTRICT c2, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    to[3 * i] = c0[i];
    to[3 * i + 1] = c1[i];
    to[3 * i + 2] = c2[i];
  }
}

Stretch::Stretch(const std::vector<Operand>& operands, const Run& run, int64_t channels,
                 float* buffer, int64_t capacity)
    : operands_(operands), run_(run), channels_(channels), buffer_(buffer), capacity_(capacity) {
  for (size_t k = 0; k < operands.size(); ++k) {
    if (operands[k].access != Access::kWrite && !operands[k].image.is_direct()) load(k);
  }
}

void Stretch::commit() const {
  for (size_t k = 0; k < operands_.size(); ++k) {
    if (operands_[k].access != Access::kRead && !operands_[k].image.is_direct()) store(k);
  }
}

// Color images in channels-last order; other channel counts go through strided copies.
bool Stretch::is_interleaved(const Image& image) const {
  return channels_ == 3 && image.stride(1) == 1 && image.stride(3) == 3;
}

void Stretch::load(int64_t operand) const {
  const Image& image = operands_[operand].image;
  if (is_interleaved(image)) {
    const float* from = static_cast<const float*>(image.at(run_, 0));
    if (image.type() != ScalarType::Float) {
      float* converted = buffered(operands_.size(), 0);
      load_floats(converted, from, 1, 3 * run_.n, image.type());
      from = converted;
    }
    deinterleave3(buffered(operand, 0), buffered(operand, 1), buffered(operand, 2), from, run_.n);
    return;
  }
  const int64_t distinct = image.stride(1) == 0 ? 1 : channels_;
  for (int64_t c = 0; c < distinct; ++c) {
    load_floats(buffered(operand, c), image.at(run_, c), image.stride(3), run_.n, image.type());
  }
}

void Stretch::store(int64_t operand) const {
  const Image& image = operands_[operand].image;
  if (is_interleaved(image)) {
    const bool direct = image.type() == ScalarType::Float;
    float* to = direct ? static_cast<float*>(image.at(run_, 0)) : buffered(operands_.size(), 0);
    interleave3(to, buffered(operand, 0), buffered(operand, 1), buffered(operand, 2), run_.n);
    if (!direct) store_floats(image.at(run_, 0), 1, to, 3 * run_.n, image.type());
    return;
  }
  for (int64_t c = 0; c < channels_; ++c) {
    store_floats(image.at(run_, c), image.stride(3), plane(operand, c), run_.n, image.type());
  }
}

Tiling::Tiling(const Tensor& shape, std::vector<Operand> operands, bool elementwise)
    : operands_(std::move(operands)),
      samples_(shape.size(0)),
      channels_(shape.size(1)),
      rows_(shape.size(2)),
      width_(shape.size(3)) {
  if (elementwise && share_a_dense_order()) {
    width_ = elements();
    channels_ = rows_ = 1;
    for (Operand& operand : operands_) operand.image.flatten();
  }
  if (width_ == 1) {
    std::swap(rows_, width_);
    for (Operand& operand : operands_) operand.image.transpose();
  }
  const auto all = [&](const auto& holds) {
    return std::all_of(operands_.begin(), operands_.end(),
                       [&](const Operand& operand) { return holds(operand.image); });
  };
  if (all([&](const Image& image) { return image.joins_rows(rows_, width_); })) {
    width_ *= rows_;
    rows_ = 1;
  }
  longest_ = all([](const Image& image) { return image.is_direct(); })
                 ? kDirectRun
                 : std::max(kShortestRun, kBuffered / std::max<int64_t>(1, channels_) / 16 * 16);
  longest_ = std::max<int64_t>(1, std::min(longest_, width_));
}

// All operands hold a sample as the same permutation of its elements, without gaps.
bool Tiling::share_a_dense_order() const {
  const bool planar = true, interleaved = false;
  const auto is_dense = [&](const Image& image, bool order) {
    const int64_t c = order == planar ? rows_ * width_ : 1;
    const int64_t w = order == planar ? 1 : channels_;
    return (channels_ == 1 || image.stride(1) == c) && (width_ == 1 || image.stride(3) == w) &&
           (rows_ == 1 || image.stride(2) == width_ * w);
  };
  for (const bool order : {planar, interleaved}) {
    if (std::all_of(operands_.begin(), operands_.end(),
                    [&](const Operand& operand) { return is_dense(operand.image, order); })) {
      return true;
    }
  }
  return false;
}

void Tiling::run_tiles(void (*f)(const Stretch&, const void*), const void* context) const {
  if (samples_ * elements() == 0) return;
  const int64_t stretches = (width_ + longest_ - 1) / longest_;
  share_tiles(samples_ * rows_ * stretches, channels_ * longest_, [&](int64_t tile) {
    thread_local std::vector<float> buffer;
    buffer.resize((operands_.size() + 1) * channels_ * longest_);
    const int64_t w = tile % stretches * longest_;
    const Run run{tile / stretches / rows_, tile / stretches % rows_, w,
                  std::min(longest_, width_ - w)};
    const Stretch stretch(operands_, run, channels_, buffer.data(), longest_);
    f(stretch, context);
    stretch.commit();
  });
}

}  // namespace vml_fast::cpu
