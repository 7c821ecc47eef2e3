// Kernels for ops in which no number of a sample needs another one.
//
// An op is a struct with
//   In<T>, Out<T>       Types<...> of its operands; T is the network's type
//   kNetwork            whether T matters; images then, which may be walked by pixels
//   kInner              inner numbers that a vector may have besides 1 (walk.h)
//   scalars(b)          what is the same for all of sample b
//   apply(s, in, out)   float32 in, float32 out
#pragma once

#include "cuda/image.cuh"

namespace vml_fast::cuda {

template <typename... T>
struct Types {
  static constexpr int kCount = sizeof...(T);
};

template <typename Op>
constexpr int kInputs = Op::template In<float>::kCount;
template <typename Op>
constexpr int kOutputs = Op::template Out<float>::kCount;

template <typename Op>
struct Operands {
  View in[kInputs<Op>];
  View out[kOutputs<Op>];
};

template <typename... T, int kCount, int kInner>
__device__ __forceinline__ void load_all(Types<T...>, const View (&views)[kCount],
                                         const Place<uint32_t>& place,
                                         float (&to)[kCount][kInner][kVector]) {
  int k = 0;
  ((load_places<T>(views[k], place.offset_in(views[k]), to[k]), ++k), ...);
}

template <typename... T, int kCount, int kInner>
__device__ __forceinline__ void store_all(Types<T...>, const View (&views)[kCount],
                                          const Place<uint32_t>& place,
                                          const float (&from)[kCount][kInner][kVector]) {
  int k = 0;
  ((store_places<T>(views[k], place.offset_in(views[k]), from[k]), ++k), ...);
}

template <typename Op, typename T, int kInner>
__global__ void __launch_bounds__(kThreads)
    pointwise_vectors(const __grid_constant__ Extent<uint32_t> extent,
                      const __grid_constant__ Operands<Op> operands,
                      const __grid_constant__ Op op) {
  constexpr int kIn = kInputs<Op>, kOut = kOutputs<Op>;
  for_each_sample(extent.batch, [&](int64_t b) {
    const auto scalars = op.scalars(b);
    for_each_place<kVector>(extent, b, [&](const Place<uint32_t>& place) {
      float in[kIn][kInner][kVector], out[kOut][kInner][kVector];
      load_all(typename Op::template In<T>{}, operands.in, place, in);
#pragma unroll
      for (int j = 0; j < kInner; ++j) {
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
          float one_in[kIn], one_out[kOut];
#pragma unroll
          for (int k = 0; k < kIn; ++k) one_in[k] = in[k][j][i];
          op.apply(scalars, one_in, one_out);
#pragma unroll
          for (int k = 0; k < kOut; ++k) out[k][j][i] = one_out[k];
        }
      }
      store_all(typename Op::template Out<T>{}, operands.out, place, out);
    });
  });
}

// Any strides and types. (Without the 2, which allows 128 registers, the compiler aims at more
// blocks and spills.)
template <typename Op, typename Index>
__global__ void __launch_bounds__(kThreads, 2)
    pointwise_numbers(const __grid_constant__ Extent<Index> extent,
                      const __grid_constant__ Operands<Op> operands,
                      const __grid_constant__ Op op) {
  constexpr int kIn = kInputs<Op>, kOut = kOutputs<Op>;
  for_each_sample(extent.batch, [&](int64_t b) {
    const auto scalars = op.scalars(b);
    for_each_place<1>(extent, b, [&](const Place<Index>& place) {
      for (int j = 0; j < extent.inner; ++j) {
        float in[kIn], out[kOut];
#pragma unroll
        for (int k = 0; k < kIn; ++k) {
          const View& view = operands.in[k];
          in[k] = load_at(view, place.offset_in(view) + j * view.inner);
        }
        op.apply(scalars, in, out);
#pragma unroll
        for (int k = 0; k < kOut; ++k) {
          const View& view = operands.out[k];
          store_at(view, place.offset_in(view) + j * view.inner, out[k]);
        }
      }
    });
  });
}

template <typename Op, typename T>
void run_vectors(const Walk& walk, const Operands<Op>& operands, const Op& op, Stream stream) {
  const Extent<uint32_t> extent(walk);
  const auto kernel =
      walk.inner == 1 ? &pointwise_vectors<Op, T, 1> : &pointwise_vectors<Op, T, Op::kInner>;
  launch_items(stream, walk.batch, walk.items(), kernel, extent, operands, op);
}

template <typename Op, typename Index>
void run_numbers(const Walk& walk, const Operands<Op>& operands, const Op& op, Stream stream) {
  launch_items(stream, walk.batch, walk.items(), &pointwise_numbers<Op, Index>, Extent<Index>(walk),
               operands, op);
}

// Runs an op. `network` is the type of all operands that may differ from float32; kByte if they
// disagree.
template <typename Op>
void run_pointwise(const Shape& shape, Operands<Op> operands, const Op& op, Element network,
                   Stream stream, int inner = 1) {
  constexpr int kIn = kInputs<Op>, kOut = kOutputs<Op>;
  View views[kIn + kOut];
  std::copy_n(operands.in, kIn, views);
  std::copy_n(operands.out, kOut, views + kIn);
  Walk walk = choose_walk(shape, views, inner, Op::kNetwork);
  std::copy_n(views, kIn, operands.in);
  std::copy_n(views + kIn, kOut, operands.out);
  if (walk.vectors) {
    const auto run = [&](auto type) {
      if constexpr (Op::kNetwork || std::is_same_v<decltype(type), float>) {
        run_vectors<Op, decltype(type)>(walk, operands, op, stream);
      }
    };
    if (with_vector_type(Op::kNetwork ? network : Element::kFloat, run)) return;
    walk.vectors = false;
  }
  if (walk.items() < INT32_MAX) {
    run_numbers<Op, uint32_t>(walk, operands, op, stream);
  } else {
    run_numbers<Op, uint64_t>(walk, operands, op, stream);
  }
}

}  // namespace vml_fast::cuda
