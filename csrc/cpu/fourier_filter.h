// The middle of the spectral bracket with transforms of its own, for sides that are powers of two.
#pragma once

#include "cpu/passes.h"

namespace vml_fast::cpu {

// Whether fourier_filter takes planes of this size.
bool has_fourier_filter(int64_t height, int64_t width);

// irfft2(spectral_filter(rfft2(stack), ...)), orthonormal: (1 | 2, B, C, H, W) to (B, C, H, W).
Tensor fourier_filter(const Tensor& stack, const Tensor& target, const Tensor& s,
                      const Tensor& alpha, const std::optional<Tensor>& beta);

}  // namespace vml_fast::cpu
