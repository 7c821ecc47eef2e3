// Reading and writing the operands of a walk: vectors of kVector places, or single numbers.
#pragma once

#include <type_traits>

#include "cuda/element.cuh"

namespace vml_fast::cuda {

// A walk as a kernel sees it: sizes of a sample in items.
template <typename Index>
struct Extent {
  int64_t batch;
  Index rows, columns, items;
  int inner;

  explicit Extent(const Walk& walk)
      : batch(walk.batch),
        rows(static_cast<Index>(walk.rows)),
        columns(static_cast<Index>(walk.vectors ? walk.columns / kVector : walk.columns)),
        items(static_cast<Index>(walk.items())),
        inner(walk.inner) {}
};

// A place of a walk; `column` counts places, not items.
template <typename Index>
struct Place {
  int64_t b;
  Index outer, row, column;

  __device__ __forceinline__ int64_t offset_in(const View& view) const {
    return b * view.batch + outer * view.outer + row * view.row + column * view.column;
  }
};

// Calls f(place) for the items of this thread in sample b; an item covers `step` places.
template <int step, typename Index, typename F>
__device__ __forceinline__ void for_each_place(const Extent<Index>& extent, int64_t b, const F& f) {
  for_each_item(extent.items, [&](Index i) {
    if (extent.items == extent.columns) {  // one long row
      f(Place<Index>{b, 0, 0, i * step});
    } else {
      const Index row = i / extent.columns;
      f(Place<Index>{b, row / extent.rows, row % extent.rows, i % extent.columns * step});
    }
  });
}

// Operand types besides those of numbers: a mask of bytes or of float32, and float32 that may be
// the same along a whole row.
struct Mask {};
struct Repeated {};

template <typename T>
__device__ __forceinline__ void load_neighbors(const View& view, int64_t offset,
                                               float (&to)[kVector]) {
  if constexpr (std::is_same_v<T, Mask>) {
    if (view.element == Element::kByte) {
      load_vector(static_cast<const uint8_t*>(view.data) + offset, to);
    } else {
      load_vector(static_cast<const float*>(view.data) + offset, to);
    }
  } else if constexpr (std::is_same_v<T, Repeated>) {
    const float* const from = static_cast<const float*>(view.data) + offset;
    if (view.column != 0) return load_vector(from, to);
#pragma unroll
    for (int i = 0; i < kVector; ++i) to[i] = *from;
  } else {
    load_vector(static_cast<const T*>(view.data) + offset, to);
  }
}

// The kVector places that start at `offset`, each with its inner numbers: to[inner][place].
template <typename T, int kInner>
__device__ __forceinline__ void load_places(const View& view, int64_t offset,
                                            float (&to)[kInner][kVector]) {
  if (kInner > 1 && view.inner == 1) {  // interleaved: kInner vectors of neighbors
    float flat[kInner][kVector];
#pragma unroll
    for (int j = 0; j < kInner; ++j) load_neighbors<T>(view, offset + j * kVector, flat[j]);
#pragma unroll
    for (int k = 0; k < kInner * kVector; ++k) {
      to[k % kInner][k / kInner] = flat[k / kVector][k % kVector];
    }
  } else if (kInner > 1 && view.inner == 0) {  // one plane for all
    load_neighbors<T>(view, offset, to[0]);
#pragma unroll
    for (int k = kVector; k < kInner * kVector; ++k) {
      to[k / kVector][k % kVector] = to[0][k % kVector];
    }
  } else {
#pragma unroll
    for (int j = 0; j < kInner; ++j) load_neighbors<T>(view, offset + j * view.inner, to[j]);
  }
}

template <typename T, int kInner>
__device__ __forceinline__ void store_places(const View& view, int64_t offset,
                                             const float (&from)[kInner][kVector]) {
  T* const to = static_cast<T*>(view.data) + offset;
  if (kInner > 1 && view.inner == 1) {
    float flat[kInner][kVector];
#pragma unroll
    for (int k = 0; k < kInner * kVector; ++k) {
      flat[k / kVector][k % kVector] = from[k % kInner][k / kInner];
    }
#pragma unroll
    for (int j = 0; j < kInner; ++j) store_vector(to + j * kVector, flat[j]);
  } else {
#pragma unroll
    for (int j = 0; j < kInner; ++j) store_vector(to + j * view.inner, from[j]);
  }
}

__device__ __forceinline__ float load_at(const View& view, int64_t offset) {
  return load_number<float>(view.data, view.element, offset);
}

__device__ __forceinline__ void store_at(const View& view, int64_t offset, float value) {
  store_number(view.data, view.element, offset, value);
}

}  // namespace vml_fast::cuda
