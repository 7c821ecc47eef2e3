// Numbers in memory and in registers: one of any type, or four neighbors of a known type.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstring>

#include "cuda/launch.cuh"
#include "cuda/walk.h"

namespace vml_fast::cuda {

__device__ __forceinline__ float widen(float value) {
  return value;
}
__device__ __forceinline__ float widen(__half value) {
  return __half2float(value);
}
__device__ __forceinline__ float widen(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

// kVector neighbors, moved by one instruction: overloads by the type in memory.
__device__ __forceinline__ void load_vector(const float* from, float (&to)[kVector]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

__device__ __forceinline__ void load_vector(const uint8_t* from, float (&to)[kVector]) {
  const uchar4 four = *reinterpret_cast<const uchar4*>(from);
  to[0] = four.x;
  to[1] = four.y;
  to[2] = four.z;
  to[3] = four.w;
}

template <typename Pair>
__device__ __forceinline__ Pair pair_of(uint32_t bits) {
  Pair pair;
  memcpy(static_cast<void*>(&pair), &bits, sizeof(pair));
  return pair;
}

template <typename Pair>
__device__ __forceinline__ uint32_t bits_of(Pair pair) {
  uint32_t bits;
  memcpy(&bits, &pair, sizeof(bits));
  return bits;
}

__device__ __forceinline__ void load_vector(const __half* from, float (&to)[kVector]) {
  const uint2 four = *reinterpret_cast<const uint2*>(from);
  const float2 low = __half22float2(pair_of<__half2>(four.x));
  const float2 high = __half22float2(pair_of<__half2>(four.y));
  to[0] = low.x;
  to[1] = low.y;
  to[2] = high.x;
  to[3] = high.y;
}

__device__ __forceinline__ void load_vector(const __nv_bfloat16* from, float (&to)[kVector]) {
  const uint2 four = *reinterpret_cast<const uint2*>(from);
  const float2 low = __bfloat1622float2(pair_of<__nv_bfloat162>(four.x));
  const float2 high = __bfloat1622float2(pair_of<__nv_bfloat162>(four.y));
  to[0] = low.x;
  to[1] = low.y;
  to[2] = high.x;
  to[3] = high.y;
}

__device__ __forceinline__ void store_vector(float* to, const float (&from)[kVector]) {
  *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}

__device__ __forceinline__ void store_vector(__half* to, const float (&from)[kVector]) {
  *reinterpret_cast<uint2*>(to) = make_uint2(bits_of(__floats2half2_rn(from[0], from[1])),
                                             bits_of(__floats2half2_rn(from[2], from[3])));
}

__device__ __forceinline__ void store_vector(__nv_bfloat16* to, const float (&from)[kVector]) {
  *reinterpret_cast<uint2*>(to) = make_uint2(bits_of(__floats2bfloat162_rn(from[0], from[1])),
                                             bits_of(__floats2bfloat162_rn(from[2], from[3])));
}

// One number of a type that is known at run time, in the precision of Real.
template <typename Real>
__device__ __forceinline__ Real load_number(const void* data, Element element, int64_t offset) {
  switch (element) {
    case Element::kDouble:
      return static_cast<Real>(static_cast<const double*>(data)[offset]);
    case Element::kHalf:
      return static_cast<Real>(widen(static_cast<const __half*>(data)[offset]));
    case Element::kBFloat16:
      return static_cast<Real>(widen(static_cast<const __nv_bfloat16*>(data)[offset]));
    case Element::kByte:
      return static_cast<Real>(static_cast<const uint8_t*>(data)[offset]);
    default:
      return static_cast<Real>(static_cast<const float*>(data)[offset]);
  }
}

template <typename Real>
__device__ __forceinline__ void store_number(void* data, Element element, int64_t offset,
                                             Real value) {
  switch (element) {
    case Element::kDouble:
      static_cast<double*>(data)[offset] = static_cast<double>(value);
      break;
    case Element::kHalf:
      static_cast<__half*>(data)[offset] = __float2half_rn(static_cast<float>(value));
      break;
    case Element::kBFloat16:
      static_cast<__nv_bfloat16*>(data)[offset] = __float2bfloat16_rn(static_cast<float>(value));
      break;
    default:
      static_cast<float*>(data)[offset] = static_cast<float>(value);
  }
}

// Calls f(T{}) with the type of a network tensor that vectors exist for; false if there is none.
template <typename F>
bool with_vector_type(Element element, const F& f) {
  switch (element) {
    case Element::kFloat:
      f(float{});
      return true;
    case Element::kHalf:
      f(__half{});
      return true;
    case Element::kBFloat16:
      f(__nv_bfloat16{});
      return true;
    default:
      return false;
  }
}

}  // namespace vml_fast::cuda
