// The point-wise middle of a bracket: alpha (target - s z0) + beta z1, real or complex.
#include <torch/csrc/stable/library.h>

#include <optional>

#include "cuda/image.cuh"

namespace vml_fast::cuda {

namespace {

struct Complex {
  float real, imaginary;
};

__device__ inline float weighted(float a, float u, float s, float z) { return a * (u - s * z); }
__device__ inline Complex weighted(float a, Complex u, float s, Complex z) {
  return {a * (u.real - s * z.real), a * (u.imaginary - s * z.imaginary)};
}
__device__ inline float plus(float t, float w, float p) { return t + w * p; }
__device__ inline Complex plus(Complex t, float w, Complex p) {
  return {t.real + w * p.real, t.imaginary + w * p.imaginary};
}

template <typename Z>
struct Stack {  // (1 | 2, B, C, h, w)
  const Z* data;
  int64_t stride[5];

  explicit Stack(const Tensor& z) : data(static_cast<const Z*>(z.data_ptr())) {
    for (int i = 0; i < 5; ++i) stride[i] = z.stride(i);
  }
  __device__ const Z& at(int64_t part, const Place& p) const {
    return data[part * stride[0] + p.b * stride[1] + p.c * stride[2] + p.h * stride[3] +
                p.w * stride[4]];
  }
};

template <typename Z>
__global__ void filter_kernel(Extent e, Stack<Z> z, Image<const Z> target, Image<const float> s,
                              Image<const float> alpha, Image<const float> beta, bool with_prior,
                              Z* out) {
  if (item_index() >= e.sample()) return;
  const Place p = place_of(sample_index(), item_index(), e);
  const float value = s.at(p);
  Z t = weighted(alpha.at(p), target.at(p), value, z.at(0, p));
  if (with_prior && value != 0.0f) t = plus(t, beta.at(p), z.at(1, p));
  out[int64_t{p.b} * e.sample() + item_index()] = t;
}

}  // namespace

Tensor spectral_filter(const Tensor& z, const Tensor& target, const Tensor& s, const Tensor& alpha,
                       const std::optional<Tensor>& beta) {
  check_filter(z, target, s, alpha, beta);
  Tensor out = torch::stable::new_empty(z, {z.size(1), z.size(2), z.size(3), z.size(4)});
  const auto run = [&](auto tag) {
    using Z = typename decltype(tag)::type;
    Extent e(out);
    e.interleaved = false;
    launch_items(z, e.samples, e.sample(), &filter_kernel<Z>, e, Stack<Z>(z), Image<const Z>(target),
                 Image<const float>(s), Image<const float>(alpha),
                 Image<const float>(beta.has_value() ? *beta : alpha), beta.has_value(),
                 static_cast<Z*>(out.data_ptr()));
  };
  if (z.scalar_type() == ScalarType::ComplexFloat) {
    run(Tag<Complex>{});
  } else {
    run(Tag<float>{});
  }
  return out;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("spectral_filter", TORCH_BOX(&vml_fast::cuda::spectral_filter));
}
