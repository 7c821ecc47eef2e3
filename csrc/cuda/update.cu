// The new state and the network's next input, in place: x <- x + c_skip v + c_in g, u <- c_in x.
#include "cuda/kernels.h"
#include "cuda/pointwise.cuh"

namespace vml_fast::cuda {

namespace {

struct Update {
  template <typename T>
  using In = Types<float, float, T>;  // x, v, gradient
  template <typename T>
  using Out = Types<float, T>;  // x, u
  static constexpr int kInner = 3;
  static constexpr bool kNetwork = true;

  struct Scalars {
    float c_skip, c_in;
  };

  Table coefficients;

  __device__ __forceinline__ Scalars scalars(int64_t b) const {
    const float* const row = coefficients.data + b * coefficients.row;
    return {row[0], row[coefficients.column]};
  }

  static __device__ __forceinline__ void apply(const Scalars& s, const float (&in)[3],
                                               float (&out)[2]) {
    out[0] = in[0] + s.c_skip * in[1] + s.c_in * in[2];
    out[1] = s.c_in * out[0];
  }
};

}  // namespace

void launch_update(const Shape& shape, const View& x, const View& v, const View& gradient,
                   const View& u, const Table& coefficients, Stream stream) {
  const Element network = gradient.element == u.element ? u.element : Element::kByte;
  run_pointwise<Update>(shape, {{x, v, gradient}, {x, u}}, {coefficients}, network, stream);
}

}  // namespace vml_fast::cuda
