"""Structure and data of an operator: what it computes, and with which tensors."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.operators import checks

_COMPLEX = {torch.float32: torch.complex64, torch.float64: torch.complex128}


class OperatorData(ABC):
    """The part of every operator that holds its tensors.

    `data` are the tensors that define the operator. What a computation reads is fetched by
    `_tensor(name, like)`: a tensor of `data`, or one derived from it by `_derive_<name>`, in the
    dtype and on the device of `like`, made once and cached.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        measurement_shape: tuple[int, ...],
        *,
        rtol: float,
        data: Mapping[str, Tensor] | None,
        batch_size: int | None,
    ) -> None:
        self.image_shape = checks.image_shape(image_shape)
        self.measurement_shape = tuple(measurement_shape)
        self.rtol = checks.tolerance(rtol)
        self.batch_size = batch_size
        self._data: dict[str, Tensor] = dict(data or {})
        self._derived: dict[str, Tensor] = {}
        self._casts: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}
        self._norm: float | None = None
        self._static = False

    @abstractmethod
    def _arguments(self) -> dict[str, Any]:
        """The constructor's keywords that would make this operator again."""

    def _variant(self) -> tuple[Hashable, ...]:
        """What else, beside shapes and rtol, decides which computation this is."""
        return ()

    @property
    def structure(self) -> Hashable:
        """Equal for two operators if and only if they are the same computation on other tensors."""
        shapes = tuple((name, tuple(tensor.shape)) for name, tensor in self._data.items())
        return (
            type(self).__name__,
            self.image_shape,
            self.measurement_shape,
            self.rtol,
            *self._variant(),
            shapes,
        )

    @property
    def data(self) -> Mapping[str, Tensor]:
        """The tensors that define this operator, as given (or float64 where made here)."""
        return MappingProxyType(self._data)

    def with_data(self, **tensors: Any) -> Self:
        """The same structure with other tensors, named as in the constructor (mask, kernel, …).

        Raises:
            InputError: an unknown name, a value that the constructor rejects, or a structure that
                would change (another shape).
        """
        arguments = self._arguments()
        for name in tensors:
            if name not in self._replaceable():
                allowed = ", ".join(self._replaceable()) or "none"
                raise InputError(
                    f"{type(self).__name__} has no data named {name!r}; has: {allowed}"
                )
        other = type(self)(**{**arguments, **tensors})
        if other.structure != self.structure:
            raise InputError(
                f"the new data change the structure from {self.structure} to {other.structure}; "
                f"allowed: tensors of the same shapes"
            )
        return other

    def _replaceable(self) -> tuple[str, ...]:
        return tuple(self._data)

    def select(self, index: slice | Tensor) -> Self:
        """This operator for a part of the batch: per-sample data are indexed, shared data kept."""
        if self.batch_size is None or self.batch_size == 1:
            return self
        part = {name: tensor[index] for name, tensor in self._data.items()}
        return type(self)(**{**self._arguments(), **part})

    def static_copy(self) -> Self:
        """A copy whose computations read memory that stays in place, for `copy_` to write into.

        Tensors are allocated at their first use in a dtype on a device; from then on a captured
        loop that reads them sees whatever `copy_` writes.
        """
        twin = copy.copy(self)
        twin._data, twin._derived, twin._casts = dict(self._data), dict(self._derived), {}
        twin._static = True
        return twin

    def copy_(self, other: OperatorData) -> Self:
        """Write the numbers of `other` into this static copy.

        Raises:
            InputError: this operator is no `static_copy`, or the structures differ.
        """
        self._check_copy(other)
        self._data, self._derived = dict(other._data), dict(other._derived)
        self._norm = other._norm
        for (name, _, dtype), cast in self._casts.items():
            cast.copy_(_convert(self._master(name), cast.device, dtype))
        return self

    def _check_copy(self, other: OperatorData) -> None:
        if not self._static:
            raise InputError("copy_ was called on an operator that is no static_copy()")
        if other.structure != self.structure:
            raise InputError(
                f"operator has structure {other.structure}; allowed: {self.structure}, as captured"
            )

    def _master(self, name: str) -> Tensor:
        """A tensor of `data`, or one computed from it, once, by `_derive`."""
        if name in self._data:
            return self._data[name]
        if name not in self._derived:
            with torch.inference_mode(False), torch.no_grad():
                self._derived[name] = self._derive(name)
        return self._derived[name]

    def _derive(self, name: str) -> Tensor:
        tensor: Tensor = getattr(self, f"_derive_{name}")()
        return tensor

    def _tensor(self, name: str, like: Tensor | None) -> Tensor:
        """Master `name` in the dtype and on the device of `like`, cached; the master for None."""
        master = self._master(name)
        if like is None:
            return master
        key = (name, like.device, like.dtype)
        if key not in self._casts:
            # Outside inference mode, or autograd could never use the cached tensor again.
            with torch.inference_mode(False), torch.no_grad():
                cast = _convert(master, like.device, like.dtype)
                self._casts[key] = cast.clone() if self._static else cast
        return self._casts[key]


def _convert(master: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """`master` on `device`; real numbers in `dtype`, complex ones in its complex partner."""
    if master.is_complex():
        return master.to(device, _COMPLEX[dtype])
    if master.is_floating_point():
        return master.to(device, dtype)
    return master.to(device)
