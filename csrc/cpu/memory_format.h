// Dense copies of an input in one of the two memory formats, and results with an input's strides.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstdint>

namespace vml_fast::cpu {

using torch::stable::Tensor;

inline bool is_channels_last(const Tensor& t) {
  const int64_t c = t.size(1), h = t.size(2), w = t.size(3);
  return (c == 1 || t.stride(1) == 1) && (w == 1 || t.stride(3) == c) &&
         (h == 1 || t.stride(2) == w * c) && (t.size(0) == 1 || t.stride(0) == h * w * c);
}

// The format to work in; a single pixel is a row of channels in both.
inline bool prefers_channels_last(const Tensor& t) {
  return !t.is_contiguous() || t.size(2) * t.size(3) == 1;
}

// The tensor itself if dense in the format asked for, else a copy that is.
inline Tensor in_format(const Tensor& tensor, bool channels_last) {
  if (channels_last ? is_channels_last(tensor) : tensor.is_contiguous()) return tensor;
  return torch::stable::contiguous(tensor, channels_last
                                               ? torch::headeronly::MemoryFormat::ChannelsLast
                                               : torch::headeronly::MemoryFormat::Contiguous);
}

// The result with the strides that empty_like(like) has.
inline Tensor with_strides_of(const Tensor& like, Tensor result) {
  if (like.is_contiguous() || is_channels_last(like)) return result;
  Tensor wanted = torch::stable::empty_like(like);
  return torch::stable::copy_(wanted, result);
}

}  // namespace vml_fast::cpu
