// Images in any type and memory format on the device, and groups of four elements of dense ones.
#pragma once

#include "cuda/launch.cuh"

namespace vml_fast::cuda {

constexpr int kGroup = 4;  // elements per thread where everything is dense in the same order

struct Place {
  uint32_t b, c, h, w;
};

// A (B, C, H, W) operand; broadcast dimensions have stride 0.
template <typename T>
struct Image {
  T* data;
  int64_t stride[4];

  explicit Image(const Tensor& tensor) : data(static_cast<T*>(tensor.data_ptr())) {
    for (int i = 0; i < 4; ++i) stride[i] = tensor.size(i) == 1 ? 0 : tensor.stride(i);
  }

  __device__ T& at(int64_t b, int64_t c, int64_t h, int64_t w) const {
    return data[b * stride[0] + c * stride[1] + h * stride[2] + w * stride[3]];
  }
  __device__ T& at(const Place& p) const { return at(p.b, p.c, p.h, p.w); }
};

// Sizes of the images, and the order in which threads walk through a sample.
struct Extent {
  uint32_t samples, channels, height, width;
  bool interleaved;  // channels vary fastest, as in a channels-last tensor

  explicit Extent(const Tensor& tensor)
      : samples(tensor.size(0)),
        channels(tensor.size(1)),
        height(tensor.size(2)),
        width(tensor.size(3)),
        interleaved(tensor.stride(1) == 1 && tensor.size(1) > 1) {
    STD_TORCH_CHECK(tensor.numel() < kMostItems * tensor.size(0) || tensor.numel() == 0,
                    "a sample is too large");
  }

  __host__ __device__ uint32_t pixels() const { return height * width; }
  __host__ __device__ uint32_t sample() const { return channels * height * width; }
  __host__ __device__ int64_t elements() const { return int64_t{samples} * sample(); }
};

// Where element `index` of the walk through sample b lies.
__device__ inline Place place_of(uint32_t b, uint32_t index, const Extent& e) {
  const uint32_t c = e.interleaved ? index % e.channels : index / e.pixels();
  const uint32_t pixel = e.interleaved ? index / e.channels : index % e.pixels();
  return {b, c, pixel / e.width, pixel % e.width};
}

// The tensor is dense: planar (or interleaved), so that index and address agree.
inline bool is_dense(const Tensor& t, bool interleaved) {
  const int64_t c = t.size(1), h = t.size(2), w = t.size(3);
  const int64_t channel = interleaved ? 1 : h * w, pixel = interleaved ? c : 1;
  return (c == 1 || t.stride(1) == channel) && (w == 1 || t.stride(3) == pixel) &&
         (h == 1 || t.stride(2) == w * pixel) && (t.size(0) == 1 || t.stride(0) == c * h * w);
}

inline bool is_aligned(const Tensor& t) {
  return reinterpret_cast<uintptr_t>(t.data_ptr()) % (kGroup * t.element_size()) == 0;
}

// All tensors are dense in the order of the extent and can be read in groups of four.
inline bool can_group(const Extent& e, std::initializer_list<const Tensor*> tensors) {
  return e.sample() % kGroup == 0 &&
         std::all_of(tensors.begin(), tensors.end(), [&](const Tensor* t) {
           return is_dense(*t, e.interleaved) && is_aligned(*t);
         });
}

// Four elements, moved by one instruction.
template <typename T>
struct alignas(kGroup * sizeof(T)) Group {
  T values[kGroup];

  __device__ float get(int i) const { return static_cast<float>(values[i]); }
  __device__ void set(int i, float value) { values[i] = static_cast<T>(value); }
};

template <typename T>
__device__ Group<T> load_group(const T* data, int64_t index) {
  return *reinterpret_cast<const Group<T>*>(data + index);
}

template <typename T>
__device__ void store_group(T* data, int64_t index, const Group<T>& group) {
  *reinterpret_cast<Group<T>*>(data + index) = group;
}

// The (B | 1, columns) coefficients tensor.
struct CoefficientRows {
  const float* data;
  int64_t row_stride, column_stride;

  explicit CoefficientRows(const Tensor& tensor)
      : data(static_cast<const float*>(tensor.data_ptr())),
        row_stride(tensor.size(0) == 1 ? 0 : tensor.stride(0)),
        column_stride(tensor.stride(1)) {}

  __device__ Coefficients operator[](int64_t b) const {
    return load_coefficients(data + b * row_stride, column_stride);
  }
  __device__ float at(int64_t b, int64_t column) const {
    return data[b * row_stride + column * column_stride];
  }
};

}  // namespace vml_fast::cuda
