// Inpainting: from the network's raw output to the bracket v and the network's cotangent.
#include <torch/csrc/stable/library.h>

#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

template <typename M>
struct MaskTerm {
  Image<const float> y;
  Image<const M> mask;

  struct Loaded {
    Group<float> y;
    bool observed[kGroup];
  };

  __device__ static float choose(bool observed, float y, float denoised, float prior,
                                 const Coefficients& c) {
    return observed ? c.alpha * (y - denoised) + c.beta * prior : c.beta_null * prior;
  }

  __device__ float value(const Place& p, float denoised, float prior, const Coefficients& c) const {
    return choose(mask.at(p) != M(0), y.at(p), denoised, prior, c);
  }

  // The pixels of the mask follow each other; samples and channels may share it. Four elements of a
  // planar image lie in one channel.
  bool can_group(const Extent& e) const {
    const bool rows_joined = e.height == 1 || mask.stride[2] == int64_t{e.width} * mask.stride[3];
    return rows_joined && (e.interleaved || e.pixels() % kGroup == 0);
  }

  __device__ Loaded load(uint32_t b, uint32_t index, const Extent& e) const {
    Loaded loaded;
    loaded.y = load_group(y.data, int64_t{b} * e.sample() + index);
    const M* const of_sample = mask.data + b * mask.stride[0];
    uint32_t c = e.interleaved ? index % e.channels : index / e.pixels();
    uint32_t pixel = e.interleaved ? index / e.channels : index % e.pixels();
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      loaded.observed[i] = of_sample[c * mask.stride[1] + pixel * mask.stride[3]] != M(0);
      if (!e.interleaved || ++c == e.channels) {
        c = e.interleaved ? 0 : c;
        ++pixel;
      }
    }
    return loaded;
  }

  __device__ float grouped_value(const Loaded& loaded, int i, float denoised, float prior,
                                 const Coefficients& c) const {
    return choose(loaded.observed[i], loaded.y.get(i), denoised, prior, c);
  }
};

}  // namespace

Bracket mask_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, const Tensor& mask,
                     const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(y, x, "y");
  check_mask(mask, x);
  const Bracket outputs = empty_bracket(raw, x);
  if (mask.scalar_type() == ScalarType::Float) {
    const MaskTerm<float> term{Image<const float>(y), Image<const float>(mask)};
    fill_bracket(outputs, raw, x, coefficients, y, term);
  } else {
    const MaskTerm<uint8_t> term{Image<const float>(y), Image<const uint8_t>(mask)};
    fill_bracket(outputs, raw, x, coefficients, y, term);
  }
  return outputs;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("mask_bracket", TORCH_BOX(&vml_fast::cuda::mask_bracket));
}
