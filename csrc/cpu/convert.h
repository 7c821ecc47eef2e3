// Conversion of runs of elements between a tensor's type and float32.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>

namespace vml_fast::cpu {

using torch::headeronly::ScalarType;

// to[i] = float(from[i * stride]); bool and uint8 give 0 or 1.
void load_floats(float* to, const void* from, int64_t stride, int64_t n, ScalarType type);

// to[i * stride] = from[i], rounded to nearest even.
void store_floats(void* to, int64_t stride, const float* from, int64_t n, ScalarType type);

int64_t size_of(ScalarType type);

}  // namespace vml_fast::cpu
