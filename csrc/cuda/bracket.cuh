// Brackets whose value at an element needs that element alone: mask and general.
#pragma once

#include <tuple>

#include "cuda/image.cuh"

namespace vml_fast::cuda {

using Bracket = std::tuple<Tensor, Tensor>;

inline Bracket empty_bracket(const Tensor& raw, const Tensor& x) {
  return {torch::stable::empty_like(x), torch::stable::empty_like(raw)};
}

template <typename T>
struct BracketImages {
  Image<const T> raw;
  Image<const float> x;
  Image<float> v;
  Image<T> cotangent;

  BracketImages(const Bracket& outputs, const Tensor& raw_, const Tensor& x_)
      : raw(raw_), x(x_), v(std::get<0>(outputs)), cotangent(std::get<1>(outputs)) {}
};

// term.value(place, denoised, prior, c) is v.
template <typename T, typename Term>
__global__ void bracket_kernel(Extent e, BracketImages<T> images, CoefficientRows rows, Term term) {
  if (item_index() >= e.sample()) return;
  const Place p = place_of(sample_index(), item_index(), e);
  const Coefficients c = rows[p.b];
  const float x = images.x.at(p);
  const float denoised = c.denoised(static_cast<float>(images.raw.at(p)), x);
  const float v = term.value(p, denoised, denoised - x, c);
  images.v.at(p) = v;
  images.cotangent.at(p) = static_cast<T>(c.c_out * v);
}

// Four elements per thread; what the term needs for them is loaded by term.load(b, index, e).
template <typename T, typename Term>
__global__ void grouped_bracket_kernel(Extent e, BracketImages<T> images, CoefficientRows rows,
                                       Term term) {
  const uint32_t first = item_index() * kGroup;
  if (first >= e.sample()) return;
  const int64_t index = int64_t{sample_index()} * e.sample() + first;
  const Coefficients c = rows[sample_index()];
  const Group<T> raw = load_group(images.raw.data, index);
  const Group<float> x = load_group(images.x.data, index);
  const typename Term::Loaded loaded = term.load(sample_index(), first, e);
  Group<float> v;
  Group<T> cotangent;
#pragma unroll
  for (int i = 0; i < kGroup; ++i) {
    const float denoised = c.denoised(raw.get(i), x.get(i));
    const float value = term.grouped_value(loaded, i, denoised, denoised - x.get(i), c);
    v.set(i, value);
    cotangent.set(i, c.c_out * value);
  }
  store_group(images.v.data, index, v);
  store_group(images.cotangent.data, index, cotangent);
}

// Fills the outputs, four elements per thread where the images, `given` and the term allow it.
template <typename Term>
void fill_bracket(const Bracket& outputs, const Tensor& raw, const Tensor& x,
                  const Tensor& coefficients, const Tensor& given, const Term& term) {
  const Extent e(raw);
  const CoefficientRows rows(coefficients);
  const bool grouped =
      can_group(e, {&raw, &x, &std::get<0>(outputs), &std::get<1>(outputs), &given}) &&
      term.can_group(e);
  for_network_type(raw.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const BracketImages<T> images(outputs, raw, x);
    if (grouped) {
      launch_items(x, e.samples, e.sample() / kGroup, &grouped_bracket_kernel<T, Term>, e, images, rows,
                   term);
    } else {
      launch_items(x, e.samples, e.sample(), &bracket_kernel<T, Term>, e, images, rows, term);
    }
  });
}

}  // namespace vml_fast::cuda
