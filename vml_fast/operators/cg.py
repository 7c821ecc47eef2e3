"""Conjugate gradients, per sample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vml_fast.errors import InputError


def conjugate_gradient(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    tol: float,
    max_iter: int,
    early_exit: bool = True,
) -> Tensor:
    """Solve A x = b for a symmetric positive semi-definite A, each sample on its own.

    Hestenes and Stiefel (1952), started at zero, so that the solution has the least norm where
    A is singular and b lies in its range. A sample stops changing (is frozen) once its relative
    residual |b - A x| / |b| is at most `tol`, or once a direction of no curvature is met. What a
    sample becomes does not depend on the others.

    Args:
        apply: x -> A x on batches shaped like `b`, sample by sample.
        b: right-hand sides, (B, ...).
        tol: tolerance on the relative residual of each sample.
        max_iter: cap on the number of iterations.
        early_exit: stop when all samples are frozen. This reads one flag from the device in each
            iteration; with False the same result is computed in exactly `max_iter` iterations
            without a synchronization, as a captured loop needs it.

    Returns:
        x, shaped like `b`.
    """
    if not 0 <= tol < 1:
        raise InputError(f"tol is {tol!r}; allowed: a number in [0, 1)")
    if max_iter < 1:
        raise InputError(f"max_iter is {max_iter!r}; allowed: a positive integer")
    x = torch.zeros_like(b)
    residual = b
    direction = b
    energy = _dot(b, b)
    goal = tol**2 * energy
    active = energy > goal
    for _ in range(max_iter):
        if early_exit and not bool(active.any()):
            break
        image = apply(direction)
        curvature = _dot(direction, image)
        active = active & (curvature > 0)
        step = torch.where(active, energy / torch.where(active, curvature, 1.0), 0.0)
        x = x + step * direction
        residual = residual - step * image
        new_energy = _dot(residual, residual)
        ratio = torch.where(active, new_energy / torch.where(active, energy, 1.0), 0.0)
        direction = torch.where(active, residual + ratio * direction, direction)
        energy = torch.where(active, new_energy, energy)
        active = active & (energy > goal)
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, shaped (B, 1, ...) so that it broadcasts."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))
