// The new state and the network's next input, in place: x <- x + c_skip v + c_in g, u <- c_in x.
#include <torch/csrc/stable/library.h>

#include "common/check.h"
#include "cpu/clones.h"
#include "cpu/image.h"

namespace vml_fast::cpu {

VML_CLONES void update_run(float* VML_RESTRICT x, float* VML_RESTRICT u,
                           const float* VML_RESTRICT v, const float* VML_RESTRICT gradient,
                           int64_t n, float c_skip, float c_in) {
  for (int64_t i = 0; i < n; ++i) {
    const float value = x[i] + c_skip * v[i] + c_in * gradient[i];
    x[i] = value;
    u[i] = c_in * value;
  }
}

void update(const Tensor& x, const Tensor& v, const Tensor& gradient, const Tensor& u,
            const Tensor& coefficients) {
  check_update(x, v, gradient, u, coefficients);
  const CoefficientRows rows(coefficients);
  const Tiling tiling(
      x, {{x, Access::kModify}, {u, Access::kWrite}, {v, Access::kRead}, {gradient, Access::kRead}},
      true);
  tiling.for_each([&](const Stretch& s) {
    const float c_skip = rows.at(s.run().b, 0), c_in = rows.at(s.run().b, 1);
    for (int64_t k = 0; k < s.channels(); ++k) {
      update_run(s.write(0, k), s.write(1, k), s.read(2, k), s.read(3, k), s.n(), c_skip, c_in);
    }
  });
}

}  // namespace vml_fast::cpu

STABLE_TORCH_LIBRARY_IMPL(vml_fast, CPU, m) {
  m.impl("update", TORCH_BOX(&vml_fast::cpu::update));
}
