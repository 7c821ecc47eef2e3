"""What every bracket op must do, whatever its operator: one class that their tests inherit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.helpers import Arguments, Outputs, everywhere, kernels, relative_max_error

Weight = Callable[[np.ndarray], np.ndarray] | float


def dense_bracket(
    matrix: np.ndarray,
    raw: Tensor,
    x: Tensor,
    y: np.ndarray,
    scalings: tuple[float, float],
    weights: tuple[Weight, Weight, float],
) -> Tensor:
    """v = V(alpha (U^T y - S V^T D) + beta V^T (D - x)) of one sample, by a dense SVD in float64.

    Args:
        matrix: (m, n) H.
        raw: (C, H, W) F.
        x: (C, H, W) state.
        y: (m,) measurement.
        scalings: c_skip and c_out.
        weights: alpha and beta on the range of H, functions of s or constants, and beta on its
            null space.

    Returns:
        v, of the shape of x.
    """
    c_skip, c_out = scalings
    image = (c_skip * x + c_out * raw).flatten().numpy()
    u, s, vt = np.linalg.svd(matrix, full_matrices=True)
    rank = int((s > 1e-9 * s[0]).sum())
    alpha, beta = (w(s[:rank]) if callable(w) else w for w in weights[:2])
    z, prior = vt @ image, vt @ (image - x.flatten().numpy())
    t = weights[2] * prior
    t[:rank] = alpha * ((u.T @ y)[:rank] - s[:rank] * z[:rank]) + beta * prior[:rank]
    return torch.from_numpy(vt.T @ t).view_as(x)


def assert_is_dense(outputs: Outputs, expected: list[Tensor], coefficients: Tensor) -> None:
    """v against the dense truth of each sample, and the cotangent c_out v."""
    v, cotangent = outputs
    assert relative_max_error(v, torch.stack(expected)) <= 1e-12
    assert relative_max_error(cotangent, coefficients[:, 1, None, None, None] * v) <= 1e-15


class BracketTests:
    """Inherited by the test class of each bracket op.

    Attributes:
        op: its name.
    """

    op: str

    def arguments(self, shape: tuple[int, ...]) -> Arguments:
        """Random arguments of the op in the reference's order; the image has about this shape."""
        raise NotImplementedError

    @kernels
    @helpers.shapes
    @helpers.layouts
    def test_layouts_and_shapes(
        self, backend: str, shape: tuple[int, ...], layout: str, poisoned_memory: None
    ) -> None:
        given = helpers.placed(self.arguments(shape), layout)
        helpers.assert_backend_agrees(self.op, backend, given)

    @kernels
    @pytest.mark.parametrize("network", ["nchw", "channels_last", "transposed"])
    @pytest.mark.parametrize("state", ["nchw", "channels_last"])
    def test_network_and_state_in_different_formats(
        self, backend: str, network: str, state: str
    ) -> None:
        raw, x, *rest = self.arguments((2, 3, 20, 40))
        given = (helpers.LAYOUTS[network](raw), helpers.LAYOUTS[state](x), *rest)
        helpers.assert_backend_agrees(self.op, backend, given)
        helpers.assert_keeps_formats(self.op, backend, given)

    @kernels
    @helpers.network_dtypes
    @helpers.network_formats
    def test_network_dtypes(self, backend: str, dtype: torch.dtype, layout: str) -> None:
        raw, *rest = helpers.placed(self.arguments((2, 3, 17, 19)), layout)
        given = (raw.to(dtype), *rest)
        helpers.assert_backend_no_worse_than_torch(self.op, backend, given)

    @kernels
    def test_one_number_stands_for_all(self, backend: str) -> None:
        """Stride 0 along every dimension of every image, and along the rows of coefficients."""
        *given, coefficients = self.arguments((2, 3, 8, 8))
        given = [
            a[:1, :1, :1, :1].expand_as(a) if isinstance(a, Tensor) and a.ndim == 4 else a
            for a in given
        ]
        for rows in (coefficients[:1], coefficients[:1].expand(2, 5)):
            helpers.assert_backend_agrees(self.op, backend, (*given, rows))

    @everywhere
    def test_samples_are_independent(self, backend: str) -> None:
        """NaN in all data of one sample stays in that sample."""
        given = self.arguments((3, 3, 8, 8))
        poisoned = tuple(a.clone() if isinstance(a, Tensor) else a for a in given)
        for a in poisoned:
            if isinstance(a, Tensor) and a.shape[0] == 3 and a.is_floating_point():
                a[1] = float("nan")
        outputs = (helpers.run(self.op, backend, *a) for a in (given, poisoned))
        for clean, dirty in zip(*outputs, strict=True):
            assert torch.equal(clean[::2], dirty[::2])
            assert dirty[1].isnan().all()

    @kernels
    @pytest.mark.parametrize("threads", [2, 5])
    def test_threads_share_the_work(self, backend: str, threads: int) -> None:
        """Images large enough to be cut into pieces, more samples than threads and fewer."""
        given = self.arguments((3, 3, 96, 100) if not helpers.INTERPRETED else (3, 3, 8, 8))
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            values = helpers.run(self.op, backend, *given)
        finally:
            torch.set_num_threads(before)
        helpers.assert_agrees(values, helpers.run(self.op, "reference", *given))

    @kernels
    @pytest.mark.skipif(helpers.INTERPRETED, reason="too large for Triton's interpreter")
    @helpers.network_formats
    def test_samples_larger_than_the_cache(self, backend: str, layout: str) -> None:
        """Transforms take three of the five planes of each sample, and then two."""
        raw, *rest = self.arguments((2, 5, 128, 256))
        given = (helpers.LAYOUTS[layout](raw), *rest)
        helpers.assert_backend_agrees(self.op, backend, given)

    @kernels
    @helpers.network_formats
    @pytest.mark.parametrize("samples", ["all", "one"])
    def test_no_weight_on_the_null_space(self, backend: str, layout: str, samples: str) -> None:
        """As without noise; D need not be computed a second time then."""
        *given, coefficients = helpers.placed(self.arguments((2, 3, 12, 20)), layout)
        coefficients[: 2 if samples == "all" else 1, 4] = 0.0
        helpers.assert_backend_agrees(self.op, backend, (*given, coefficients))

    @kernels
    @pytest.mark.parametrize(
        ("argument", "wrong"),
        [
            ("raw", torch.zeros(2, 3, 8, 8, dtype=torch.int64)),
            ("raw", torch.zeros(2, 3, 8)),
            ("x", torch.zeros(2, 3, 8, 9)),
            ("x", torch.zeros(2, 3, 8, 8, dtype=torch.float16)),
            ("x", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
            ("coefficients", torch.zeros(2, 4)),
            ("coefficients", torch.zeros(3, 5)),
            ("coefficients", torch.zeros(5)),
            ("coefficients", torch.zeros(2, 5, dtype=torch.float64)),
        ],
    )
    def test_wrong_common_arguments_are_refused(
        self, backend: str, argument: str, wrong: Tensor
    ) -> None:
        given = self.arguments((2, 3, 8, 8))
        helpers.assert_refused(self.op, backend, given, argument, wrong)

    @pytest.mark.gpu
    @helpers.two_devices
    @kernels
    def test_tensors_on_two_devices_are_refused(self, backend: str) -> None:
        helpers.assert_refuses_mixed_devices(self.op, backend, self.arguments((2, 3, 8, 8)))

    @kernels
    def test_opcheck(self, backend: str) -> None:
        raw, *rest = self.arguments((2, 3, 6, 10))
        helpers.opcheck(self.op, backend, (raw.bfloat16(), *rest))
        helpers.opcheck(self.op, backend, (helpers.channels_last(raw), *rest))
