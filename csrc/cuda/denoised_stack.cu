// D, and D - x, planar and stacked for one batched transform.
#include "cuda/bracket.cuh"
#include "cuda/pointwise.cuh"

namespace vml_fast::cuda {

namespace {

template <bool kWithPrior>
struct DenoisedStack {
  template <typename T>
  using In = Types<T, float>;  // raw, x
  template <typename T>
  using Out = std::conditional_t<kWithPrior, Types<float, float>, Types<float>>;  // D, D - x
  static constexpr int kInner = 3;
  static constexpr bool kNetwork = true;
  static constexpr int kParts = kWithPrior ? 2 : 1;

  Table coefficients;

  __device__ __forceinline__ Coefficients scalars(int64_t b) const {
    return coefficients_of(coefficients, b);
  }

  static __device__ __forceinline__ void apply(const Coefficients& c, const float (&in)[2],
                                               float (&out)[kParts]) {
    out[0] = c.denoised(in[0], in[1]);
    if constexpr (kWithPrior) out[1] = out[0] - in[1];
  }
};

}  // namespace

void launch_denoised_stack(const Shape& shape, const View& raw, const View& x, const View& denoised,
                           const View* prior, const Table& coefficients, Stream stream) {
  if (prior != nullptr) {
    run_pointwise<DenoisedStack<true>>(shape, {{raw, x}, {denoised, *prior}}, {coefficients},
                                       raw.element, stream);
  } else {
    run_pointwise<DenoisedStack<false>>(shape, {{raw, x}, {denoised}}, {coefficients}, raw.element,
                                        stream);
  }
}

}  // namespace vml_fast::cuda
