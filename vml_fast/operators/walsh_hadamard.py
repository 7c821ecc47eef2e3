"""Compressed sensing with randomly chosen Walsh–Hadamard coefficients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vml_fast.arrays import as_tensor
from vml_fast.checks import check_number
from vml_fast.errors import InputError
from vml_fast.operators import checks
from vml_fast.operators.draws import permutation
from vml_fast.operators.linear_operator import DEFAULT_RTOL
from vml_fast.operators.svd_operator import SVDOperator


class WalshHadamard(SVDOperator):
    """y = m = ceil(ratio·n) of the n = C·H·W Walsh–Hadamard coefficients of the image: (m,).

    Each channel is transformed to W_H X W_W, where W_k is the k × k Hadamard matrix in its natural
    (Sylvester) order divided by √k, so symmetric and orthonormal; for a square image this is the
    flat transform of length H·W. The constant coefficient of every channel is kept, the others are
    drawn without replacement by `seed`, and y holds them in ascending order of their flat index.
    All singular values are 1; the spectral layout is (C, H, W).

    Args:
        image_shape: (C, H, W), H and W powers of two.
        ratio: share of the coefficients that is observed, in (0, 1]; at least C of them.
        seed: draws the selection.
        selection: the flat indices (m,) instead, distinct; then ratio gives only m.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        ratio: float,
        seed: int = 0,
        *,
        selection: Any = None,
        rtol: float = DEFAULT_RTOL,
    ) -> None:
        shape = checks.image_shape(image_shape)
        for side, size in zip(("height", "width"), shape[1:], strict=True):
            if size & (size - 1):
                raise InputError(
                    f"{side} of image_shape is {size}; WalshHadamard allows powers of two only"
                )
        self.ratio = check_number("ratio", ratio, 0, 1, low_open=True)
        # The slack keeps ceil from counting a rounding error: .07·100 is 7.000000000000001.
        count = math.ceil(self.ratio * math.prod(shape) - 1e-9)
        if selection is None:
            selection = _draw_selection(shape, count, seed)
        data = {"selection": _checked_selection(selection, math.prod(shape), count)}
        super().__init__(shape, (count,), rtol=rtol, data=data)
        self.spectral_shape = shape

    def _arguments(self) -> dict[str, Any]:
        return {
            "image_shape": self.image_shape,
            "ratio": self.ratio,
            "rtol": self.rtol,
            **self._data,
        }

    def _transform(self, x: Tensor) -> Tensor:
        return torch.matmul(self._tensor("rows", x), x) @ self._tensor("columns", x)

    _spectral = _spatial = _transform

    def _forward(self, x: Tensor) -> Tensor:
        return self._transform(x).flatten(1)[:, self._tensor("selection", x)]

    def _spectral_measurement(self, y: Tensor) -> Tensor:
        z = y.new_zeros(y.shape[0], self.image_size)
        return z.index_copy(1, self._tensor("selection", y), y).unflatten(1, self.image_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._transform(self._spectral_measurement(y))

    _pseudo_inverse = _adjoint

    def _pack(self, z: Tensor) -> Tensor:
        return z.flatten(1)[:, self._tensor("order", z)]

    def _unpack(self, z: Tensor) -> Tensor:
        return z[:, self._tensor("inverse_order", z)].unflatten(1, self.image_shape)

    def _derive_rows(self) -> Tensor:
        return _hadamard(self.image_shape[1])

    def _derive_columns(self) -> Tensor:
        return _hadamard(self.image_shape[2])

    def _derive_spectral_values(self) -> Tensor:
        selection = self._data["selection"]
        values = torch.zeros(self.image_size, dtype=torch.float64, device=selection.device)
        values[selection] = 1
        return values.unflatten(0, self.image_shape)

    def _derive_singular_values(self) -> Tensor:
        values = torch.zeros(self.image_size, dtype=torch.float64)
        values[: self.measurement_size] = 1
        return values

    def _derive_order(self) -> Tensor:
        """Flat indices: the selected coefficients, then the others."""
        hidden = (self._master("spectral_values").flatten() == 0).nonzero().flatten()
        return torch.cat([self._data["selection"], hidden])

    def _derive_inverse_order(self) -> Tensor:
        return torch.argsort(self._master("order"))


def _draw_selection(shape: tuple[int, int, int], count: int, seed: int) -> Tensor:
    channels, size = shape[0], math.prod(shape)
    if count < channels:
        raise InputError(
            f"{count} of {size} coefficients are too few to keep the constant one of each of "
            f"{channels} channels; allowed: a ratio of at least {channels / size:.3g}"
        )
    constants = torch.arange(0, size, size // channels)
    order = torch.from_numpy(permutation(size, seed))
    others = order[~torch.isin(order, constants)]
    return torch.cat([constants, others[: count - channels]]).sort().values


def _checked_selection(selection: Tensor | Sequence[int], size: int, count: int) -> Tensor:
    selection = as_tensor(selection, "selection")
    if selection.is_floating_point() or selection.dtype == torch.bool:
        raise InputError(f"selection has dtype {selection.dtype}; allowed: integers, flat indices")
    selection = selection.to(torch.int64)
    if tuple(selection.shape) != (count,):
        raise InputError(f"selection has shape {tuple(selection.shape)}; ratio asks for ({count},)")
    if selection.unique().numel() != count or selection.min() < 0 or selection.max() >= size:
        raise InputError(f"selection has repeated indices or indices outside [0, {size - 1}]")
    return selection


def _hadamard(size: int) -> Tensor:
    """The size × size Hadamard matrix in Sylvester order, divided by √size."""
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while matrix.shape[0] < size:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix / math.sqrt(size)
