// Inpainting: from the network's raw output to the bracket v and the network's cotangent.
#include "cuda/bracket.cuh"
#include "cuda/pointwise.cuh"

namespace vml_fast::cuda {

namespace {

struct MaskBracket {
  template <typename T>
  using In = Types<T, float, float, Mask>;  // raw, x, y, mask
  template <typename T>
  using Out = Types<float, T>;  // v, cotangent
  static constexpr int kInner = 3;
  static constexpr bool kNetwork = true;

  Table coefficients;

  __device__ __forceinline__ Coefficients scalars(int64_t b) const {
    return coefficients_of(coefficients, b);
  }

  static __device__ __forceinline__ void apply(const Coefficients& c, const float (&in)[4],
                                               float (&out)[2]) {
    const float denoised = c.denoised(in[0], in[1]);
    const float prior = denoised - in[1];
    const float observed = c.alpha * (in[2] - denoised) + c.beta * prior;
    finish_bracket(c, in[3] != 0.0f ? observed : c.beta_null * prior, out);
  }
};

}  // namespace

void launch_mask_bracket(const Shape& shape, const BracketViews& views, const View& y,
                         const View& mask, const Table& coefficients, Stream stream) {
  run_pointwise<MaskBracket>(shape, {{views.raw, views.x, y, mask}, {views.v, views.cotangent}},
                             {coefficients}, views.raw.element, stream);
}

}  // namespace vml_fast::cuda
