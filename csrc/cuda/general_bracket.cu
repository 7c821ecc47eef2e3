// Any operator: v = alpha term + beta_null (D - x) from a term that is already computed.
#include <torch/csrc/stable/library.h>

#include "cuda/bracket.cuh"

namespace vml_fast::cuda {

namespace {

struct GivenTerm {
  Image<const float> term;

  using Loaded = Group<float>;

  __device__ float value(const Place& p, float, float prior, const Coefficients& c) const {
    return c.alpha * term.at(p) + c.beta_null * prior;
  }
  bool can_group(const Extent&) const { return true; }
  __device__ Loaded load(uint32_t b, uint32_t index, const Extent& e) const {
    return load_group(term.data, int64_t{b} * e.sample() + index);
  }
  __device__ float grouped_value(const Loaded& loaded, int i, float, float prior,
                                 const Coefficients& c) const {
    return c.alpha * loaded.get(i) + c.beta_null * prior;
  }
};

}  // namespace

Bracket general_bracket(const Tensor& raw, const Tensor& x, const Tensor& term,
                        const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(term, x, "term");
  const Bracket outputs = empty_bracket(raw, x);
  fill_bracket(outputs, raw, x, coefficients, term, GivenTerm{Image<const float>(term)});
  return outputs;
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("general_bracket", TORCH_BOX(&vml_fast::cuda::general_bracket));
}
