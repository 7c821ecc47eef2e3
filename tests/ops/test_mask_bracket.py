"""The inpainting bracket: the reference against dense linear algebra, the kernels against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.ops import helpers
from tests.ops.brackets import BracketTests, assert_is_dense, dense_bracket
from tests.ops.helpers import everywhere, in_float64, kernels
from vml_fast.ops.mask_bracket import mask_bracket

OP = "mask_bracket"


def arguments(
    shape: tuple[int, ...], mask_shape: tuple[int, ...] | None = None
) -> tuple[Tensor, ...]:
    b, _, h, w = shape
    raw, x, y = (torch.randn(shape) for _ in range(3))
    mask = torch.rand(mask_shape or (1, 1, h, w)) > 0.5
    return raw, x, y, mask, helpers.random_coefficients(b)


class TestMaskBracket(BracketTests):
    op = OP

    def arguments(self, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
        return arguments(shape)


def test_reference_is_the_spectral_form_of_a_dense_matrix() -> None:
    given = in_float64(arguments((2, 2, 3, 3), (2, 2, 3, 3)))
    raw, x, y, mask, coefficients = given
    expected = []
    for i, (skip, out, *weights) in enumerate(coefficients.tolist()):
        matrix = np.eye(18)[mask[i].flatten().numpy()]
        measured = matrix @ y[i].flatten().numpy()
        expected.append(dense_bracket(matrix, raw[i], x[i], measured, (skip, out), weights))
    assert_is_dense(mask_bracket(*given), expected, coefficients)


@everywhere
def test_hidden_entries_of_y_are_not_read(backend: str) -> None:
    raw, x, y, mask, coefficients = arguments((2, 3, 4, 4))
    hidden = torch.where(mask, y, torch.full_like(y, float("nan")))
    v, cotangent = helpers.run(OP, backend, raw, x, hidden, mask, coefficients)
    assert v.isfinite().all() and cotangent.isfinite().all()


@kernels
@pytest.mark.parametrize(
    "mask_shape", [(1, 1, 6, 70), (2, 1, 6, 70), (1, 3, 6, 70), (2, 3, 6, 70), (1, 1, 6, 1)]
)
@pytest.mark.parametrize("mask_dtype", [torch.bool, torch.uint8, torch.float32])
@helpers.network_formats
def test_masks_per_sample_and_per_channel(
    backend: str, mask_shape: tuple[int, ...], mask_dtype: torch.dtype, layout: str
) -> None:
    raw, x, y, mask, coefficients = helpers.placed(arguments((2, 3, 6, 70), mask_shape), layout)
    given = (raw, x, y, mask.to(mask_dtype), coefficients)
    helpers.assert_backend_agrees(OP, backend, given)


@kernels
@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("y", torch.zeros(2, 3, 8)),
        ("y", torch.zeros(2, 3, 8, 8, dtype=torch.float64)),
        ("mask", torch.zeros(3, 1, 8, 8)),
        ("mask", torch.zeros(8, 8)),
        ("mask", torch.zeros(1, 1, 8, 8, dtype=torch.int64)),
    ],
)
def test_wrong_arguments_are_refused(backend: str, argument: str, wrong: Tensor) -> None:
    helpers.assert_refused(OP, backend, arguments((2, 3, 8, 8)), argument, wrong)
