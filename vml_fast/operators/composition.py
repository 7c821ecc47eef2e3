"""Two operators in a row."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.operators.linear_operator import LinearOperator
from vml_fast.operators.operator_data import OperatorData


class Composition(LinearOperator):
    """`A @ B`: y = A(B(x)).

    There is no SVD of the product, so the pseudo-inverse runs conjugate gradients. `data` holds the
    parts' tensors as "outer.<name>" (of A) and "inner.<name>" (of B).

    Args:
        outer: A, applied last; its image_shape has to equal B's measurement_shape.
        inner: B, applied first.
    """

    def __init__(
        self, outer: LinearOperator, inner: LinearOperator, *, rtol: float | None = None
    ) -> None:
        if outer.image_shape != inner.measurement_shape:
            raise InputError(
                f"{type(outer).__name__} takes images of shape {outer.image_shape}; "
                f"{type(inner).__name__} before it measures {inner.measurement_shape}"
            )
        sizes = {part.batch_size for part in (outer, inner)} - {None, 1}
        if len(sizes) > 1:
            raise InputError(
                f"{type(outer).__name__} has data for {outer.batch_size} samples and "
                f"{type(inner).__name__} for {inner.batch_size}; allowed: equal numbers"
            )
        super().__init__(
            inner.image_shape,
            outer.measurement_shape,
            rtol=max(outer.rtol, inner.rtol) if rtol is None else rtol,
            batch_size=sizes.pop() if sizes else None,
        )
        self.outer, self.inner = outer, inner

    def _arguments(self) -> dict[str, Any]:
        return {"outer": self.outer, "inner": self.inner, "rtol": self.rtol}

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer._forward(self.inner._forward(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner._adjoint(self.outer._adjoint(y))

    def _observed(self, like: Tensor) -> Tensor | None:
        return self.outer._observed(like)

    def _probe(self) -> tuple[torch.device, torch.dtype]:
        probes = [self.outer._probe(), self.inner._probe()]
        device = max((device for device, _ in probes), key=lambda device: device.type != "cpu")
        return device, min((dtype for _, dtype in probes), key=lambda dtype: dtype.itemsize)

    @property
    def structure(self) -> Hashable:
        """The structures of the parts."""
        return "Composition", self.rtol, self.outer.structure, self.inner.structure

    @property
    def data(self) -> Mapping[str, Tensor]:
        """The tensors of the parts, as "outer.<name>" and "inner.<name>"."""
        named = {f"outer.{name}": tensor for name, tensor in self.outer.data.items()}
        named |= {f"inner.{name}": tensor for name, tensor in self.inner.data.items()}
        return MappingProxyType(named)

    def with_data(self, **tensors: Any) -> Self:
        """As `LinearOperator.with_data`, with the names "outer.<name>" and "inner.<name>"."""
        parts: dict[str, dict[str, Any]] = {"outer": {}, "inner": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part not in parts or not rest:
                raise InputError(f"Composition has no data named {name!r}; has: {[*self.data]}")
            parts[part][rest] = tensor
        outer = self.outer.with_data(**parts["outer"])
        return type(self)(outer, self.inner.with_data(**parts["inner"]), rtol=self.rtol)

    def select(self, index: slice | Tensor) -> Self:
        """As `LinearOperator.select`, in both parts."""
        return type(self)(self.outer.select(index), self.inner.select(index), rtol=self.rtol)

    def static_copy(self) -> Self:
        """As `LinearOperator.static_copy`, of both parts."""
        twin = type(self)(self.outer.static_copy(), self.inner.static_copy(), rtol=self.rtol)
        twin._static = True
        return twin

    def copy_(self, other: OperatorData) -> Self:
        """As `LinearOperator.copy_`, into both parts."""
        self._check_copy(other)
        assert isinstance(other, Composition)  # equal structure
        self.outer.copy_(other.outer)
        self.inner.copy_(other.inner)
        self._norm = None
        return self

    def __repr__(self) -> str:
        return f"{self.outer!r} @ {self.inner!r}"
