"""Activation checkpointing: a block's activations are computed again in the VJP, not kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vml_fast.denoisers.fused_norm import FusedNorm

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


class Checkpointed:
    """Mixed into a block's class in front of it (Chen et al. 2016, arXiv 1604.06174)."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's forward; only its inputs are kept where a gradient will be asked for."""
        block: Any = super()
        wanted = any(isinstance(a, Tensor) and a.requires_grad for a in args)
        if not (wanted and torch.is_grad_enabled()):
            return block.forward(*args, **kwargs)
        return checkpoint(
            block.forward, *args, use_reentrant=False, preserve_rng_state=False, **kwargs
        )


def add_checkpoints(network: nn.Module, norms: tuple[type[nn.Module], ...] = (FusedNorm,)) -> int:
    """Checkpoint every block: the smallest module of its own class around a norm.

    The blocks stay instances of their class, which some networks ask for.

    Args:
        network: changed in place; its own outermost module is never a block.
        norms: what makes a module a block.

    Returns:
        The number of blocks.
    """
    blocks = {id(b): b for b in _owners(network, network, norms) if b is not network}
    for block in blocks.values():
        own = type(block)
        block.__class__ = type(f"Checkpointed{own.__name__}", (Checkpointed, own), {})
    return len(blocks)


def _owners(module: nn.Module, owner: nn.Module, norms: tuple[type, ...]) -> list[nn.Module]:
    owner = owner if type(module) in _CONTAINERS else module
    found = []
    for child in module.children():
        if isinstance(child, norms):
            found.append(owner)
        else:
            found += _owners(child, owner, norms)
    return found
