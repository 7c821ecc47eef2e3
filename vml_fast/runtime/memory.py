"""Tensors that stay in place: what a captured step reads has to lie where it lay."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor


class Memory:
    """Named tensors, each allocated by its first write and overwritten by later ones."""

    def __init__(self) -> None:
        self._tensors: dict[str, Tensor] = {}

    @overload
    def write(self, name: str, value: Tensor) -> Tensor: ...
    @overload
    def write(self, name: str, value: Tensor | None) -> Tensor | None: ...

    def write(self, name: str, value: Tensor | None) -> Tensor | None:
        """Put a value under its name.

        Args:
            name: of the tensor.
            value: of the shape and dtype that the name had before; None is passed through.

        Returns:
            The tensor that holds the value, always the same one.
        """
        if value is None:
            return None
        tensor = self._tensors.get(name)
        if tensor is None:
            # An inference tensor could not be overwritten by a later call outside that mode.
            with torch.inference_mode(False), torch.no_grad():
                self._tensors[name] = tensor = value.detach().clone()
            return tensor
        if (tensor.shape, tensor.dtype) != (value.shape, value.dtype):
            raise RuntimeError(
                f"{name} was {tuple(tensor.shape)} {tensor.dtype} and cannot become "
                f"{tuple(value.shape)} {value.dtype} in place"
            )
        return tensor.copy_(value)
