"""deepinv's own algorithms as an outside opinion, where deepinv is installed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.operators.problems import SVD_OPERATORS, assert_close, images, measurements
from tests.peers.deepinv_import import deepinv_or_skip
from vml_fast.operators import SVDOperator

deepinv = deepinv_or_skip()


def _adapter(H: SVDOperator) -> object:
    """Our factors in deepinv's terms: U as (B, n) with the spectrum zero-padded to n."""
    n, m = H.image_size, H.measurement_size

    class Adapter(deepinv.physics.DecomposablePhysics):  # type: ignore[misc]
        def U(self, z: Tensor) -> Tensor:
            return H.u(torch.nn.functional.pad(z, (0, m - n)))

        def U_adjoint(self, y: Tensor) -> Tensor:
            return torch.nn.functional.pad(H.ut(y), (0, n - m))

        def V(self, z: Tensor) -> Tensor:
            return H.v(z)

        def V_adjoint(self, x: Tensor) -> Tensor:
            return H.vt(x)

    return Adapter(mask=H.singular_values(torch.zeros(1, dtype=torch.float64))[None])


@pytest.mark.parametrize("make", SVD_OPERATORS.values(), ids=SVD_OPERATORS.keys())
def test_deepinv_agrees(make: Callable[[], SVDOperator]) -> None:
    """Its A, Aᵀ, adjointness and proximal step by SVD against ours by direct forms."""
    H = make()
    physics = _adapter(H)
    x, y = images(H), measurements(H)
    assert_close(physics.A(x), H(x))
    assert_close(physics.A_adjoint(y), H.adjoint(y))
    assert abs(float(physics.adjointness_test(x))) < 1e-8
    if H.dropped_fraction() == 0:  # it has a threshold of its own
        assert_close(physics.A_dagger(H(x)), H.pseudo_inverse(H(x)), 1e-6)
    prox = physics.prox_l2(x, y, 0.7)
    normal = H.adjoint(H(prox)) + prox / 0.7
    assert_close(normal, H.adjoint(y) + x / 0.7, 1e-6)
