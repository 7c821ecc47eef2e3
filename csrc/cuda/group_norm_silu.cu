// GroupNorm + scale-shift + SiLU, and its gradient with respect to the input.
//
// A sum kernel reduces pieces of pixels to two numbers per channel, a small kernel combines them
// per group into constants per channel, and an apply kernel makes the result: every large tensor is
// read twice and written once, in whole lines in both memory formats.
#include <torch/csrc/stable/library.h>

#include <cmath>
#include <optional>
#include <tuple>
#include <utility>

#include "cuda/image.cuh"

namespace vml_fast::cuda {

namespace {

constexpr uint32_t kLanes = 32;   // channels (interleaved) or pixels (planar) side by side in a block
constexpr uint32_t kRows = 8;     // the other direction
constexpr uint32_t kPiece = 512;  // pixels of a sum

template <typename T>
using Precise = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ inline float exponential(float x) { return expf(x); }
__device__ inline double exponential(double x) { return exp(x); }

// A dense image whose channels or whose pixels are adjacent.
struct Layout {
  uint32_t samples, channels, pixels, groups;
  bool interleaved;

  __host__ __device__ uint32_t per_group() const { return channels / groups; }
  __host__ __device__ uint32_t pieces() const { return (pixels + kPiece - 1) / kPiece; }
  __host__ __device__ uint32_t sample() const { return channels * pixels; }
  __device__ int64_t index(uint32_t b, uint32_t c, uint32_t p) const {
    const int64_t start = int64_t{b} * sample();
    return start + (interleaved ? int64_t{p} * channels + c : int64_t{c} * pixels + p);
  }
};

// z = (x - mean) gain + offset, per sample and channel.
template <typename A>
struct Constants {
  A mean, rstd, gain, offset;
};

// Parameters in any floating type.
struct Parameter {
  const void* data = nullptr;
  ScalarType type = ScalarType::Float;
  int64_t sample_stride = 0, channel_stride = 0;

  explicit Parameter(const std::optional<Tensor>& tensor) {
    if (!tensor.has_value()) return;
    data = tensor->data_ptr();
    type = tensor->scalar_type();
    const int64_t last = tensor->dim() - 1;
    channel_stride = tensor->stride(last);
    sample_stride = last == 1 ? tensor->stride(0) : 0;
  }

  template <typename A>
  __device__ A at(uint32_t b, uint32_t c) const {
    if (data == nullptr) return A(0);
    const int64_t i = b * sample_stride + c * channel_stride;
    switch (type) {
      case ScalarType::BFloat16:
        return static_cast<A>(static_cast<float>(static_cast<const BFloat16*>(data)[i]));
      case ScalarType::Half:
        return static_cast<A>(static_cast<float>(static_cast<const Half*>(data)[i]));
      case ScalarType::Double:
        return static_cast<A>(static_cast<const double*>(data)[i]);
      default:
        return static_cast<A>(static_cast<const float*>(data)[i]);
    }
  }
};

struct ScaleShift {
  Parameter weight, bias, scale, shift;

  template <typename A>
  __device__ A gain(uint32_t b, uint32_t c) const {
    return weight.at<A>(b, c) * (A(1) + scale.at<A>(b, c));
  }
  template <typename A>
  __device__ A offset(uint32_t b, uint32_t c) const {
    return bias.at<A>(b, c) * (A(1) + scale.at<A>(b, c)) + shift.at<A>(b, c);
  }
};

// gradient silu'(z).
template <typename A>
__device__ A through_silu(A gradient, A z) {
  const A s = A(1) / (A(1) + exponential(-z));
  return gradient * s * (A(1) + z * (A(1) - s));
}

// What the forward pass sums: x - first and its square, `first` the channel's first value.
template <typename T>
struct Moments {
  using A = Precise<T>;
  const T* x;

  __device__ A reference(const Layout& l, uint32_t b, uint32_t c) const {
    return static_cast<A>(x[l.index(b, c, 0)]);
  }
  __device__ void add(A sums[2], int64_t i, A first, const Constants<A>&) const {
    const A d = static_cast<A>(x[i]) - first;
    sums[0] += d;
    sums[1] += d * d;
  }
};

// What the backward pass sums: dz and dz (x - mean).
template <typename T, typename G>
struct GradientSums {
  using A = Precise<T>;
  const T* x;
  const G* gradient;
  bool activation;

  __device__ A reference(const Layout&, uint32_t, uint32_t) const { return A(0); }
  __device__ void add(A sums[2], int64_t i, A, const Constants<A>& k) const {
    const A d = static_cast<A>(x[i]) - k.mean;
    const A g = static_cast<A>(gradient[i]);
    const A dz = activation ? through_silu(g, d * k.gain + k.offset) : g;
    sums[0] += dz;
    sums[1] += dz * d;
  }
};

// sums[((b * pieces + piece) * channels + c) * 2 + {0, 1}]. A block is kLanes x kRows threads; its
// lanes are channels or pixels, whichever are adjacent in memory.
template <typename Terms, typename A>
__global__ void sum_kernel(Layout l, Terms terms, const Constants<A>* constants, A* sums) {
  __shared__ A partial[kRows][kLanes][2];
  const uint32_t piece = blockIdx.x, b = blockIdx.z;
  const uint32_t begin = piece * kPiece;
  const uint32_t end = begin + kPiece < l.pixels ? begin + kPiece : l.pixels;
  const uint32_t lane = threadIdx.x, row = threadIdx.y;
  const uint32_t c = l.interleaved ? blockIdx.y * kLanes + lane : blockIdx.y * kRows + row;
  A own[2] = {A(0), A(0)};
  if (c < l.channels) {
    const Constants<A> k = constants == nullptr ? Constants<A>{} : constants[b * l.channels + c];
    const A first = terms.reference(l, b, c);
    const uint32_t step = l.interleaved ? kRows : kLanes;
    for (uint32_t p = begin + (l.interleaved ? row : lane); p < end; p += step) {
      terms.add(own, l.index(b, c, p), first, k);
    }
  }
  partial[row][lane][0] = own[0];
  partial[row][lane][1] = own[1];
  __syncthreads();
  // One thread per channel of the block adds up its column (interleaved) or row (planar).
  const bool owner = l.interleaved ? row == 0 : lane == 0;
  if (!owner || c >= l.channels) return;
  A total[2] = {A(0), A(0)};
  for (uint32_t i = 0; i < (l.interleaved ? kRows : kLanes); ++i) {
    const A* part = l.interleaved ? partial[i][lane] : partial[row][i];
    total[0] += part[0];
    total[1] += part[1];
  }
  A* const to = sums + ((int64_t{b} * l.pieces() + piece) * l.channels + c) * 2;
  to[0] = total[0];
  to[1] = total[1];
}

template <typename A>
__device__ void add_pieces(const Layout& l, const A* sums, uint32_t b, uint32_t c, double out[2]) {
  out[0] = out[1] = 0.0;
  for (uint32_t piece = 0; piece < l.pieces(); ++piece) {
    const A* from = sums + ((int64_t{b} * l.pieces() + piece) * l.channels + c) * 2;
    out[0] += from[0];
    out[1] += from[1];
  }
}

// One thread per group: its statistics, and the constants of its channels.
template <typename T, typename A>
__global__ void statistics_kernel(Layout l, const T* x, const A* sums, ScaleShift parameters,
                                  double eps, A* means, A* rstds, Constants<A>* constants) {
  const uint32_t b = sample_index(), g = item_index();
  if (g >= l.groups) return;
  const double n = l.pixels;
  double mean = 0.0;
  for (uint32_t c = g * l.per_group(); c < (g + 1) * l.per_group(); ++c) {
    double total[2];
    add_pieces(l, sums, b, c, total);
    mean += (static_cast<double>(static_cast<A>(x[l.index(b, c, 0)])) + total[0] / n) /
            l.per_group();
  }
  double spread = 0.0;
  for (uint32_t c = g * l.per_group(); c < (g + 1) * l.per_group(); ++c) {
    double total[2];
    add_pieces(l, sums, b, c, total);
    const double from_mean =
        static_cast<double>(static_cast<A>(x[l.index(b, c, 0)])) + total[0] / n - mean;
    spread += total[1] - total[0] * total[0] / n + n * from_mean * from_mean;
  }
  const double variance = spread < 0.0 ? 0.0 : spread / (n * l.per_group());  // NaN stays
  const A rstd = static_cast<A>(1.0 / sqrt(variance + eps));
  means[b * l.groups + g] = static_cast<A>(mean);
  rstds[b * l.groups + g] = rstd;
  for (uint32_t c = g * l.per_group(); c < (g + 1) * l.per_group(); ++c) {
    constants[b * l.channels + c] = {static_cast<A>(mean), rstd,
                                     rstd * parameters.gain<A>(b, c),
                                     parameters.offset<A>(b, c)};
  }
}

// The constants of a channel from the statistics that the forward pass returned.
template <typename A>
__global__ void constants_kernel(Layout l, const A* means, const A* rstds, ScaleShift parameters,
                                 Constants<A>* constants) {
  const uint32_t b = sample_index(), c = item_index();
  if (c >= l.channels) return;
  const uint32_t g = b * l.groups + c / l.per_group();
  constants[b * l.channels + c] = {means[g], rstds[g], rstds[g] * parameters.gain<A>(b, c),
                                   parameters.offset<A>(b, c)};
}

// One thread per group: dx = gain dz - slopes[0] - slopes[1] (x - mean).
template <typename A>
__global__ void slopes_kernel(Layout l, const A* sums, const Constants<A>* constants, A* slopes) {
  const uint32_t b = sample_index(), g = item_index();
  if (g >= l.groups) return;
  const double count = static_cast<double>(l.pixels) * l.per_group();
  double mean_dz = 0.0, mean_product = 0.0;
  double rstd = 0.0;
  for (uint32_t c = g * l.per_group(); c < (g + 1) * l.per_group(); ++c) {
    const Constants<A> k = constants[b * l.channels + c];
    double total[2];
    add_pieces(l, sums, b, c, total);
    rstd = k.rstd;  // gain is weight times rstd, so each sum has one factor of it already
    mean_dz += k.gain * total[0] / count;
    mean_product += k.gain * total[1] / count;
  }
  slopes[(b * l.groups + g) * 2] = static_cast<A>(mean_dz);
  slopes[(b * l.groups + g) * 2 + 1] = static_cast<A>(mean_product * rstd * rstd);
}

template <typename T, typename A>
__global__ void apply_kernel(Layout l, const T* x, T* y, const Constants<A>* constants,
                             bool activation) {
  if (item_index() >= l.sample()) return;
  const uint32_t c = l.interleaved ? item_index() % l.channels : item_index() / l.pixels;
  const int64_t i = int64_t{sample_index()} * l.sample() + item_index();
  const Constants<A> k = constants[sample_index() * l.channels + c];
  const A z = (static_cast<A>(x[i]) - k.mean) * k.gain + k.offset;
  y[i] = static_cast<T>(activation ? z / (A(1) + exponential(-z)) : z);
}

template <typename T, typename G, typename A>
__global__ void input_gradient_kernel(Layout l, const G* gradient, const T* x, T* dx,
                                      const Constants<A>* constants, const A* slopes,
                                      bool activation) {
  if (item_index() >= l.sample()) return;
  const uint32_t c = l.interleaved ? item_index() % l.channels : item_index() / l.pixels;
  const int64_t i = int64_t{sample_index()} * l.sample() + item_index();
  const Constants<A> k = constants[sample_index() * l.channels + c];
  const A* slope = slopes + (sample_index() * l.groups + c / l.per_group()) * 2;
  const A d = static_cast<A>(x[i]) - k.mean;
  const A g = static_cast<A>(gradient[i]);
  const A dz = activation ? through_silu(g, d * k.gain + k.offset) : g;
  dx[i] = static_cast<T>(k.gain * dz - slope[0] - slope[1] * d);
}

template <typename Terms, typename A>
void launch_sums(const Tensor& on, const Layout& l, const Terms& terms,
                 const Constants<A>* constants, A* sums) {
  const uint32_t per_block = l.interleaved ? kLanes : kRows;
  const dim3 grid(l.pieces(), (l.channels + per_block - 1) / per_block, l.samples);
  launch(on, &sum_kernel<Terms, A>, grid, dim3(kLanes, kRows), 0, l, terms, constants, sums);
}

// The tensor itself if dense in the format, else a copy that is.
Tensor in_format(const Tensor& tensor, bool interleaved) {
  if (is_dense(tensor, interleaved)) return tensor;
  return torch::stable::contiguous(tensor, interleaved
                                               ? torch::headeronly::MemoryFormat::ChannelsLast
                                               : torch::headeronly::MemoryFormat::Contiguous);
}

Tensor with_strides_of(const Tensor& like, Tensor result) {
  Tensor wanted = torch::stable::empty_like(like);
  for (int64_t i = 0; i < 4; ++i) {
    if (wanted.stride(i) != result.stride(i)) return torch::stable::copy_(wanted, result);
  }
  return result;
}

Layout layout_of(const Tensor& x, int64_t groups) {
  STD_TORCH_CHECK(x.size(0) <= kMostSamples && x.numel() < kMostItems * std::max<int64_t>(1, x.size(0)),
                  "x is too large");
  return {static_cast<uint32_t>(x.size(0)), static_cast<uint32_t>(x.size(1)),
          static_cast<uint32_t>(x.size(2) * x.size(3)), static_cast<uint32_t>(groups),
          !x.is_contiguous()};
}

template <typename A>
Tensor workspace(const Tensor& like, int64_t numbers) {
  return torch::stable::new_empty(
      like, {numbers}, std::is_same_v<A, double> ? ScalarType::Double : ScalarType::Float);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> group_norm_silu_forward(
    const Tensor& input, int64_t num_groups, const Tensor& weight, const Tensor& bias, double eps,
    const std::optional<Tensor>& scale, const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(input, num_groups, weight, bias, scale, shift);
  const Layout l = layout_of(input, num_groups);
  const Tensor x = in_format(input, l.interleaved);
  Tensor y = torch::stable::empty_like(x), mean, rstd;
  const ScaleShift parameters{Parameter(weight), Parameter(bias), Parameter(scale),
                              Parameter(shift)};
  for_network_type(input.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = Precise<T>;
    mean = torch::stable::reshape(workspace<A>(x, x.size(0) * num_groups), {x.size(0), num_groups});
    rstd = torch::stable::empty_like(mean);
    if (x.numel() == 0) return;
    Tensor sums = workspace<A>(x, int64_t{2} * l.samples * l.pieces() * l.channels);
    Tensor constants = workspace<A>(x, int64_t{4} * l.samples * l.channels);
    const T* const from = static_cast<const T*>(x.data_ptr());
    A* const partial = static_cast<A*>(sums.data_ptr());
    auto* const per_channel = static_cast<Constants<A>*>(constants.data_ptr());
    launch_sums<Moments<T>, A>(x, l, Moments<T>{from}, nullptr, partial);
    launch_items(x, l.samples, l.groups, &statistics_kernel<T, A>, l, from, partial, parameters,
                 eps, static_cast<A*>(mean.data_ptr()), static_cast<A*>(rstd.data_ptr()),
                 per_channel);
    launch_items(x, l.samples, l.sample(), &apply_kernel<T, A>, l, from,
                 static_cast<T*>(y.data_ptr()), per_channel, activation);
  });
  return {with_strides_of(input, y), mean, rstd};
}

Tensor group_norm_silu_backward(const Tensor& gradient, const Tensor& input, const Tensor& mean,
                                const Tensor& rstd, int64_t num_groups, const Tensor& weight,
                                const Tensor& bias, const std::optional<Tensor>& scale,
                                const std::optional<Tensor>& shift, bool activation) {
  check_group_norm(input, num_groups, weight, bias, scale, shift);
  check_group_norm_backward(gradient, input, mean, rstd, num_groups);
  const Layout l = layout_of(input, num_groups);
  const Tensor x = in_format(input, l.interleaved), g = in_format(gradient, l.interleaved);
  const Tensor means = torch::stable::contiguous(mean), rstds = torch::stable::contiguous(rstd);
  Tensor dx = torch::stable::empty_like(x);
  if (x.numel() == 0) return with_strides_of(input, dx);
  const ScaleShift parameters{Parameter(weight), Parameter(bias), Parameter(scale),
                              Parameter(shift)};
  for_network_type(input.scalar_type(), [&](auto tag) {
    using T = typename decltype(tag)::type;
    using A = Precise<T>;
    Tensor sums = workspace<A>(x, int64_t{2} * l.samples * l.pieces() * l.channels);
    Tensor constants = workspace<A>(x, int64_t{4} * l.samples * l.channels);
    Tensor slopes = workspace<A>(x, int64_t{2} * l.samples * l.groups);
    const T* const from = static_cast<const T*>(x.data_ptr());
    A* const partial = static_cast<A*>(sums.data_ptr());
    A* const per_group = static_cast<A*>(slopes.data_ptr());
    auto* const per_channel = static_cast<Constants<A>*>(constants.data_ptr());
    launch_items(x, l.samples, l.channels, &constants_kernel<A>, l,
                 static_cast<const A*>(means.data_ptr()), static_cast<const A*>(rstds.data_ptr()),
                 parameters, per_channel);
    for_network_type(g.scalar_type(), [&](auto gradient_tag) {
      using G = typename decltype(gradient_tag)::type;
      const G* const given = static_cast<const G*>(g.data_ptr());
      launch_sums<GradientSums<T, G>, A>(x, l, GradientSums<T, G>{from, given, activation},
                                         per_channel, partial);
      launch_items(x, l.samples, l.groups, &slopes_kernel<A>, l, partial, per_channel, per_group);
      launch_items(x, l.samples, l.sample(), &input_gradient_kernel<T, G, A>, l, given, from,
                   static_cast<T*>(dx.data_ptr()), per_channel, per_group, activation);
    });
  });
  return with_strides_of(input, dx);
}

}  // namespace vml_fast::cuda

STABLE_TORCH_LIBRARY_IMPL(vml_fast, VML_FAST_CUDA_KEY, m) {
  m.impl("group_norm_silu_forward", TORCH_BOX(&vml_fast::cuda::group_norm_silu_forward));
  m.impl("group_norm_silu_backward", TORCH_BOX(&vml_fast::cuda::group_norm_silu_backward));
}
