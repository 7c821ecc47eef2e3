// Any operator: v = alpha term + beta_null (D - x) from a term that is already computed.
#include "cuda/bracket.cuh"
#include "cuda/pointwise.cuh"

namespace vml_fast::cuda {

namespace {

struct GeneralBracket {
  template <typename T>
  using In = Types<T, float, float>;  // raw, x, term
  template <typename T>
  using Out = Types<float, T>;  // v, cotangent
  static constexpr int kInner = 3;
  static constexpr bool kNetwork = true;

  Table coefficients;

  __device__ __forceinline__ Coefficients scalars(int64_t b) const {
    return coefficients_of(coefficients, b);
  }

  static __device__ __forceinline__ void apply(const Coefficients& c, const float (&in)[3],
                                               float (&out)[2]) {
    const float prior = c.denoised(in[0], in[1]) - in[1];
    finish_bracket(c, c.alpha * in[2] + c.beta_null * prior, out);
  }
};

}  // namespace

void launch_general_bracket(const Shape& shape, const BracketViews& views, const View& term,
                            const Table& coefficients, Stream stream) {
  run_pointwise<GeneralBracket>(shape, {{views.raw, views.x, term}, {views.v, views.cotangent}},
                                {coefficients}, views.raw.element, stream);
}

}  // namespace vml_fast::cuda
