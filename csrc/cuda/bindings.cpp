// The CUDA implementations of the operators that schemas.cpp defines: checks, outputs, and the
// kernels on torch's current stream. No kernel is launched for empty tensors.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <optional>
#include <tuple>

#include "common/check.h"
#include "cuda/kernels.h"

// Weak, so that the library loads on a torch without CUDA too.
extern "C" __attribute__((weak)) AOTITorchError aoti_torch_get_current_cuda_stream(int32_t, void**);

#ifndef VML_FAST_CUDA_KEY  // tests register the emulated kernels for the CPU
#define VML_FAST_CUDA_KEY CUDA
#endif

namespace vml_fast::cuda {

namespace {

using Bracket = std::tuple<Tensor, Tensor>;

// Makes the device of a tensor the current one, and finds torch's current stream on it: on another
// stream the results would be silently wrong inside a captured graph.
class Queue {
 public:
  explicit Queue(const Tensor& on) : device_(on.get_device_index()) {
#ifndef VML_FAST_EMULATE
    guard_.emplace(device_);
    STD_TORCH_CHECK(aoti_torch_get_current_cuda_stream != nullptr, "torch was built without CUDA");
    // STABLE_TORCH_ERROR_CODE_CHECK is newer than torch 2.11.
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(device_, &stream_));
#endif
  }

  operator Stream() const { return {stream_, device_}; }

 private:
  int device_;
  void* stream_ = nullptr;
  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
};

Element element_of(ScalarType type) {
  switch (type) {
    case ScalarType::Double:
      return Element::kDouble;
    case ScalarType::Half:
      return Element::kHalf;
    case ScalarType::BFloat16:
      return Element::kBFloat16;
    case ScalarType::Bool:
    case ScalarType::Byte:
      return Element::kByte;
    default:
      return Element::kFloat;
  }
}

Shape shape_of(const Tensor& t) {
  return {t.size(0), t.size(1), t.size(2), t.size(3)};
}

int64_t stride_of(const Tensor& t, int64_t dimension) {
  return t.size(dimension) == 1 ? 0 : t.stride(dimension);
}

View view_of(const Tensor& t) {
  return {t.data_ptr(),
          element_of(t.scalar_type()),
          stride_of(t, 0),
          stride_of(t, 1),
          stride_of(t, 2),
          stride_of(t, 3),
          0};
}

Table table_of(const Tensor& t) {
  const int64_t column = t.dim() == 2 ? t.stride(1) : 0;
  return {static_cast<const float*>(t.data_ptr()), stride_of(t, 0), column};
}

Bracket empty_bracket(const Tensor& raw, const Tensor& x) {
  return {torch::stable::empty_like(x), torch::stable::empty_like(raw)};
}

BracketViews views_of(const Bracket& outputs, const Tensor& raw, const Tensor& x) {
  return {view_of(raw), view_of(x), view_of(std::get<0>(outputs)), view_of(std::get<1>(outputs))};
}

Bracket mask_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, const Tensor& mask,
                     const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(y, x, "y");
  check_mask(mask, x);
  const Bracket outputs = empty_bracket(raw, x);
  if (x.numel() == 0) return outputs;
  launch_mask_bracket(shape_of(x), views_of(outputs, raw, x), view_of(y), view_of(mask),
                      table_of(coefficients), Queue(x));
  return outputs;
}

Bracket block_mean_bracket(const Tensor& raw, const Tensor& x, const Tensor& y, int64_t factor,
                           const Tensor& coefficients) {
  constexpr int64_t kMostFactor = 65535;  // the pixels of a block are counted in 32 bits
  check_bracket(raw, x, coefficients);
  check_block_measurement(y, x, factor);
  STD_TORCH_CHECK(factor <= kMostFactor, "factor is ", factor, ", more than ", kMostFactor);
  const Bracket outputs = empty_bracket(raw, x);
  if (x.numel() == 0) return outputs;
  launch_block_mean_bracket(shape_of(x), views_of(outputs, raw, x), view_of(y), factor,
                            table_of(coefficients), Queue(x));
  return outputs;
}

Bracket colorization_bracket(const Tensor& raw, const Tensor& x, const Tensor& y,
                             const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_gray_measurement(y, x);
  const Bracket outputs = empty_bracket(raw, x);
  if (x.numel() == 0) return outputs;
  launch_colorization_bracket(shape_of(x), views_of(outputs, raw, x), view_of(y),
                              table_of(coefficients), Queue(x));
  return outputs;
}

Bracket general_bracket(const Tensor& raw, const Tensor& x, const Tensor& term,
                        const Tensor& coefficients) {
  check_bracket(raw, x, coefficients);
  check_like_state(term, x, "term");
  const Bracket outputs = empty_bracket(raw, x);
  if (x.numel() == 0) return outputs;
  launch_general_bracket(shape_of(x), views_of(outputs, raw, x), view_of(term),
                         table_of(coefficients), Queue(x));
  return outputs;
}

Tensor denoised_stack(const Tensor& raw, const Tensor& x, const Tensor& coefficients,
                      bool with_prior) {
  check_bracket(raw, x, coefficients);
  const Shape shape = shape_of(x);
  const Tensor stack = torch::stable::new_empty(
      x, {with_prior ? 2 : 1, shape.batch, shape.channels, shape.rows, shape.columns});
  if (x.numel() == 0) return stack;
  float* const data = static_cast<float*>(stack.data_ptr());
  const View denoised = dense_view(data, Element::kFloat, shape);
  const View prior = dense_view(data + x.numel(), Element::kFloat, shape);
  launch_denoised_stack(shape, view_of(raw), view_of(x), denoised, with_prior ? &prior : nullptr,
                        table_of(coefficients), Queue(x));
  return stack;
}

// A (B, C, h, w) operand of the filter, in floats: two for a complex number.
View filter_view(const Tensor& t, int64_t skip_dimensions, int64_t offset) {
  const bool is_complex = t.scalar_type() == ScalarType::ComplexFloat;
  const int64_t parts = is_complex ? 2 : 1;
  const auto stride = [&](int64_t i) { return parts * stride_of(t, i + skip_dimensions); };
  float* const data = static_cast<float*>(t.data_ptr()) + parts * offset;
  return {data, Element::kFloat, stride(0), stride(1), stride(2), stride(3), is_complex ? 1 : 0};
}

Tensor spectral_filter(const Tensor& z, const Tensor& target, const Tensor& s, const Tensor& alpha,
                       const std::optional<Tensor>& beta) {
  check_filter(z, target, s, alpha, beta);
  const Tensor out = torch::stable::new_empty(z, {z.size(1), z.size(2), z.size(3), z.size(4)});
  if (out.numel() == 0) return out;
  const auto view = [](const Tensor& t) { return filter_view(t, 0, 0); };
  const View prior = filter_view(z, 1, beta.has_value() ? z.stride(0) : 0);
  const View beta_view = view(beta.has_value() ? *beta : alpha);
  launch_spectral_filter(
      shape_of(out),
      {filter_view(z, 1, 0), view(target), view(s), view(alpha), view(out),
       beta.has_value() ? &prior : nullptr, beta.has_value() ? &beta_view : nullptr,
       z.scalar_type() == ScalarType::ComplexFloat},
      Queue(z));
  return out;
}

void update(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& u,
            const Tensor& coefficients) {
  check_update(x, v, gradient, u, coefficients);
  if (x.numel() == 0) return;
  launch_update(shape_of(x), view_of(x), view_of(v), view_of(gradient), view_of(u),
                table_of(coefficients), Queue(x));
}

Counters counters_of(const Tensor& seed, const Tensor& sample, const Tensor& draw) {
  return {static_cast<const int64_t*>(seed.data_ptr()),
          static_cast<const int64_t*>(sample.data_ptr()),
          static_cast<const int64_t*>(draw.data_ptr()), stride_of(seed, 0), stride_of(sample, 0)};
}

Tensor transition(const Tensor& denoised, const Tensor& sigma, const Tensor& seed,
                  const Tensor& sample, const Tensor& draw) {
  check_transition(denoised, sigma, seed, sample, draw);
  const Tensor out = torch::stable::empty_like(denoised);
  if (out.numel() == 0) return out;
  launch_transition(shape_of(denoised), view_of(denoised), view_of(out), table_of(sigma),
                    counters_of(seed, sample, draw), Queue(denoised));
  return out;
}

Tensor philox_words(int64_t elements, const Tensor& seed, const Tensor& sample,
                    const Tensor& draw) {
  check_counters(seed, sample, draw);
  STD_TORCH_CHECK(elements >= 1, "elements must be at least 1, got ", elements);
  const int64_t blocks = (elements + 3) / 4;
  const Tensor words = torch::stable::new_empty(seed, {seed.size(0), blocks, 4});
  if (words.numel() == 0) return words;
  launch_philox_words(seed.size(0), blocks, static_cast<int64_t*>(words.data_ptr()),
                      counters_of(seed, sample, draw), Queue(seed));
  return words;
}

Tensor fwht(const Tensor& x) {
  check_fwht(x);
  const Tensor in = torch::stable::contiguous(x);
  const Tensor out = torch::stable::new_empty(x, x.sizes());
  if (x.numel() == 0) return out;
  int bits = 0;
  while (int64_t{1} << bits < x.size(x.dim() - 1)) ++bits;
  launch_fwht(static_cast<const float*>(in.data_ptr()), static_cast<float*>(out.data_ptr()),
              x.numel(), bits, Queue(x));
  return out;
}

Parameter parameter_of(const std::optional<Tensor>& t) {
  if (!t.has_value()) return {nullptr, Element::kFloat, 0, 0};
  const int64_t channels = t->dim() - 1;
  return {t->data_ptr(), element_of(t->scalar_type()), channels > 0 ? stride_of(*t, 0) : 0,
          stride_of(*t, channels)};
}

GroupNorm norm_of(const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias,
                  const std::optional<Tensor>& scale, const std::optional<Tensor>& shift,
                  bool activation) {
  return {shape_of(x),          num_groups,
          parameter_of(weight), parameter_of(bias),
          parameter_of(scale),  parameter_of(shift),
          activation,           x.scalar_type() == ScalarType::Double};
}

Statistics statistics_of(const Tensor& mean, const Tensor& rstd) {
  return {mean.data_ptr(), rstd.data_ptr(), mean.stride(0),
          mean.stride(1),  rstd.stride(0),  rstd.stride(1)};
}

std::tuple<Tensor, Tensor, Tensor> group_norm_silu_forward(
    const Tensor& x, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps,
    const std::optional<Tensor>& scale, const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  const Tensor y = torch::stable::empty_like(x);
  const ScalarType precise =
      x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
  const Tensor mean = torch::stable::new_empty(x, {x.size(0), num_groups}, precise);
  const Tensor rstd = torch::stable::empty_like(mean);
  if (x.numel() > 0) {
    launch_group_norm_silu_forward(norm_of(x, num_groups, weight, bias, scale, shift, activation),
                                   view_of(x), view_of(y), statistics_of(mean, rstd), eps,
                                   Queue(x));
  }
  return {y, mean, rstd};
}

Tensor group_norm_silu_backward(const Tensor& gradient, const Tensor& x, const Tensor& mean,
                                const Tensor& rstd, int64_t num_groups, const Tensor& weight,
                                const Tensor& bias, const std::optional<Tensor>& scale,
                                const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(x, num_groups, weight, bias, scale, shift);
  check_group_norm_backward(gradient, x, mean, rstd, num_groups);
  const Tensor dx = torch::stable::empty_like(x);
  if (x.numel() == 0) return dx;
  launch_group_norm_silu_backward(norm_of(x, num_groups, weight, bias, scale, shift, activation),
                                  view_of(gradient), view_of(x), view_of(dx),
                                  statistics_of(mean, rstd), Queue(x));
  return dx;
}

}  // namespace

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("mask_bracket", TORCH_BOX(&vml_fast::cuda::mask_bracket));
  m.impl("block_mean_bracket", TORCH_BOX(&vml_fast::cuda::block_mean_bracket));
  m.impl("colorization_bracket", TORCH_BOX(&vml_fast::cuda::colorization_bracket));
  m.impl("general_bracket", TORCH_BOX(&vml_fast::cuda::general_bracket));
  m.impl("denoised_stack", TORCH_BOX(&vml_fast::cuda::denoised_stack));
  m.impl("spectral_filter", TORCH_BOX(&vml_fast::cuda::spectral_filter));
  m.impl("update", TORCH_BOX(&vml_fast::cuda::update));
  m.impl("transition", TORCH_BOX(&vml_fast::cuda::transition));
  m.impl("philox_words", TORCH_BOX(&vml_fast::cuda::philox_words));
  m.impl("fwht", TORCH_BOX(&vml_fast::cuda::fwht));
  m.impl("group_norm_silu_forward", TORCH_BOX(&vml_fast::cuda::group_norm_silu_forward));
  m.impl("group_norm_silu_backward", TORCH_BOX(&vml_fast::cuda::group_norm_silu_backward));
}
