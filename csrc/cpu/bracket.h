// What all brackets share: outputs, operands, and the walk over stretches of pixels.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <tuple>
#include <vector>

#include "common/check.h"
#include "cpu/image.h"

namespace vml_fast::cpu {

// Operand numbers of a bracket's stretch; further inputs follow.
enum BracketOperand { kV, kCotangent, kRaw, kX, kExtra };

using Bracket = std::tuple<Tensor, Tensor>;

inline Bracket empty_bracket(const Tensor& raw, const Tensor& x) {
  return {torch::stable::empty_like(x), torch::stable::empty_like(raw)};
}

inline std::vector<Operand> bracket_operands(const Bracket& outputs, const Tensor& raw,
                                             const Tensor& x, std::vector<Tensor> extra) {
  std::vector<Operand> operands = {{std::get<0>(outputs), Access::kWrite},
                                   {std::get<1>(outputs), Access::kWrite},
                                   {raw, Access::kRead},
                                   {x, Access::kRead}};
  for (const Tensor& tensor : extra) operands.emplace_back(tensor, Access::kRead);
  return operands;
}

// Fills `outputs` by f(stretch, coefficients of its sample).
template <typename F>
void fill_bracket(const Bracket& outputs, const Tensor& raw, const Tensor& x,
                  std::vector<Tensor> extra, const Tensor& coefficients, bool elementwise,
                  const F& f) {
  const CoefficientRows rows(coefficients);
  const Tiling tiling(x, bracket_operands(outputs, raw, x, std::move(extra)), elementwise);
  tiling.for_each([&](const Stretch& stretch) { f(stretch, rows[stretch.run().b]); });
}

}  // namespace vml_fast::cpu
