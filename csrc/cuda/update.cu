// The new state and the network's next input, in place: x <- x + c_skip v + c_in g, u <- c_in x.
#include <torch/csrc/stable/library.h>

#include "cuda/image.cuh"

namespace vml_fast::cuda {

namespace {

template <typename G, typename U>
struct UpdateImages {
  Image<float> x;
  Image<const float> v;
  Image<const G> gradient;
  Image<U> u;
};

template <typename G, typename U>
__global__ void update_kernel(Extent e, UpdateImages<G, U> images, CoefficientRows rows) {
  if (item_index() >= e.sample()) return;
  const Place p = place_of(sample_index(), item_index(), e);
  const float c_skip = rows.at(p.b, 0), c_in = rows.at(p.b, 1);
  float& x = images.x.at(p);
  const float gradient = static_cast<float>(images.gradient.at(p));
  x = x + c_skip * images.v.at(p) + c_in * gradient;
  images.u.at(p) = static_cast<U>(c_in * x);
}

template <typename G, typename U>
__global__ void grouped_update_kernel(Extent e, UpdateImages<G, U> images, CoefficientRows rows) {
  const uint32_t first = item_index() * kGroup, b = sample_index();
  if (first >= e.sample()) return;
  const int64_t index = int64_t{b} * e.sample() + first;
  const float c_skip = rows.at(b, 0), c_in = rows.at(b, 1);
  Group<float> x = load_group<float>(images.x.data, index);
  const Group<float> v = load_group(images.v.data, index);
  const Group<G> gradient = load_group(images.gradient.data, index);
  Group<U> u;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    x.set(i, x.get(i) + c_skip * v.get(i) + c_in * gradient.get(i));
    u.set(i, c_in * x.get(i));
  }
  store_group(images.x.data, index, x);
  store_group(images.u.data, index, u);
}

}  // namespace

void update(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& u,
            const Tensor& coefficients) {
  check_update(x, v, gradient, u, coefficients);
  const Extent e(u);
  const bool grouped = can_group(e, {&x, &v, &gradient, &u});
  const CoefficientRows rows(coefficients);
  for_network_type(gradient.scalar_type(), [&](auto gradient_tag) {
    for_network_type(u.scalar_type(), [&](auto u_tag) {
      using G = typename decltype(gradient_tag)::type;
      using U = typename decltype(u_tag)::type;
      const UpdateImages<G, U> images{Image<float>(x), Image<const float>(v),
                                      Image<const G>(gradient), Image<U>(u)};
      if (grouped) {
        launch_items(x, e.samples, e.sample() / kGroup, &grouped_update_kernel<G, U>, e, images, rows);
      } else {
        launch_items(x, e.samples, e.sample(), &update_kernel<G, U>, e, images, rows);
      }
    });
  });
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("update", TORCH_BOX(&vml_fast::cuda::update));
}
