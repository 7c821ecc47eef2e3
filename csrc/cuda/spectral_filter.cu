// The point-wise middle of a bracket: alpha (target - s z0) + beta z1, real or complex.
#include "cuda/kernels.h"
#include "cuda/pointwise.cuh"

namespace vml_fast::cuda {

namespace {

// A complex number is two floats with the same real factors. Inputs: z, target, s, alpha, and prior
// and beta where there is a prior term.
template <bool kWithPrior>
struct SpectralFilter {
  template <typename T>
  using In =
      std::conditional_t<kWithPrior, Types<float, float, Repeated, Repeated, float, Repeated>,
                         Types<float, float, Repeated, Repeated>>;
  template <typename T>
  using Out = Types<float>;
  static constexpr int kInner = 2;
  static constexpr bool kNetwork = false;
  static constexpr int kIn = kWithPrior ? 6 : 4;

  struct Scalars {};

  __device__ __forceinline__ Scalars scalars(int64_t) const { return {}; }

  static __device__ __forceinline__ void apply(const Scalars&, const float (&in)[kIn],
                                               float (&out)[1]) {
    out[0] = in[3] * (in[1] - in[2] * in[0]);
    if constexpr (kWithPrior) out[0] += in[2] != 0.0f ? in[5] * in[4] : 0.0f;
  }
};

}  // namespace

void launch_spectral_filter(const Shape& shape, const FilterViews& views, Stream stream) {
  const int inner = views.is_complex ? 2 : 1;
  const auto factor = [](View view) {
    view.may_repeat = true;
    return view;
  };
  const View s = factor(views.s), alpha = factor(views.alpha);
  if (views.prior != nullptr) {
    run_pointwise<SpectralFilter<true>>(
        shape, {{views.z, views.target, s, alpha, *views.prior, factor(*views.beta)}, {views.out}},
        {}, Element::kFloat, stream, inner);
  } else {
    run_pointwise<SpectralFilter<false>>(shape, {{views.z, views.target, s, alpha}, {views.out}},
                                         {}, Element::kFloat, stream, inner);
  }
}

}  // namespace vml_fast::cuda
