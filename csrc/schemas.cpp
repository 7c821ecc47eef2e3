// Every operator of the namespace vml_fast, defined once; cpu/ and cuda/ implement them.
// The plain-PyTorch reference in vml_fast/ops/<op>.py is the specification of each.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(vml_fast, m) {
  m.def(
      "mask_bracket(Tensor raw, Tensor x, Tensor y, Tensor mask, Tensor coefficients)"
      " -> (Tensor v, Tensor cotangent)");
  m.def(
      "block_mean_bracket(Tensor raw, Tensor x, Tensor y, int factor, Tensor coefficients)"
      " -> (Tensor v, Tensor cotangent)");
  m.def(
      "colorization_bracket(Tensor raw, Tensor x, Tensor y, Tensor coefficients)"
      " -> (Tensor v, Tensor cotangent)");
  m.def(
      "general_bracket(Tensor raw, Tensor x, Tensor term, Tensor coefficients)"
      " -> (Tensor v, Tensor cotangent)");
  m.def(
      "spectral_bracket(Tensor raw, Tensor x, Tensor target, Tensor s, Tensor alpha, Tensor? beta,"
      " Tensor coefficients) -> (Tensor v, Tensor cotangent)");
  m.def(
      "separable_bracket(Tensor raw, Tensor x, Tensor target, Tensor s, Tensor alpha, Tensor? beta,"
      " Tensor rows_v, Tensor columns_v, Tensor coefficients) -> (Tensor v, Tensor cotangent)");
  m.def(
      "walsh_hadamard_bracket(Tensor raw, Tensor x, Tensor target, Tensor s, Tensor alpha,"
      " Tensor? beta, Tensor coefficients) -> (Tensor v, Tensor cotangent)");
  m.def("denoised_stack(Tensor raw, Tensor x, Tensor coefficients, bool with_prior) -> Tensor");
  m.def("spectral_filter(Tensor z, Tensor target, Tensor s, Tensor alpha, Tensor? beta) -> Tensor");
  m.def("update(Tensor(a!) x, Tensor v, Tensor gradient, Tensor(b!) u, Tensor coefficients) -> ()");
  m.def(
      "transition(Tensor denoised, Tensor sigma, Tensor seed, Tensor sample, Tensor draw)"
      " -> Tensor");
  m.def("philox_words(int elements, Tensor seed, Tensor sample, Tensor draw) -> Tensor");
  m.def("fwht(Tensor x) -> Tensor");
  m.def(
      "group_norm_silu_forward(Tensor x, int num_groups, Tensor weight, Tensor bias, float eps,"
      " Tensor? scale, Tensor? shift, bool activation)"
      " -> (Tensor y, Tensor mean, Tensor rstd)");
  m.def(
      "group_norm_silu_backward(Tensor gradient, Tensor x, Tensor mean, Tensor rstd,"
      " int num_groups, Tensor weight, Tensor bias, Tensor? scale, Tensor? shift, bool activation)"
      " -> Tensor");
}
