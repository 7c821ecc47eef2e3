"""The named forms of VML-MAP, and the one-line `restore`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.solvers.result import Result
from vml_fast.solvers.vml_map import VMLMAP

METHODS: dict[str, str] = {
    "vml-map": "plain gradient descent on the VML loss",
    "vml-map-pre": "with the preconditioner built from the SVD of H",
    "vml-map-tau": "plain, not optimized at noise levels up to sigma_y",
    "vml-map-tau-pre": "preconditioned, not optimized at noise levels up to sigma_y",
}
"""Method name to what it is; the names of arXiv 2512.10524."""

_SOLVE_KEYWORDS = (
    "seed", "sample_index", "condition", "initial", "callback", "progress", "keep_images",
)  # fmt: skip


def method_options(method: str, noise_std: float | Tensor = 0.0) -> dict[str, Any]:
    """The keywords of `VMLMAP` that make a named method.

    Raises:
        InputError: there is no such method.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    return {
        "preconditioner": "auto" if method.endswith("-pre") else None,
        "stop_sigma": noise_std if "-tau" in method else None,
    }


def restore(
    y: Tensor,
    operator: LinearOperator,
    denoiser: Callable[..., Tensor],
    *,
    method: str = "vml-map-pre",
    noise_std: float | Tensor = 0.0,
    **options: Any,
) -> Result:
    """Restore a batch of measurements in one line.

    Args:
        y: (B, *measurement_shape), y = H x + noise, images in [-1, 1].
        operator: H.
        denoiser: D(x, sigma).
        method: a name of `METHODS`.
        noise_std: sigma_y, one number or (B,).
        **options: any keyword of `VMLMAP` or of `VMLMAP.solve`.

    Returns:
        The restoration; see `Result`.

    Raises:
        InputError: an argument is of the wrong shape, dtype, range or name.
    """
    running = {key: options.pop(key) for key in _SOLVE_KEYWORDS if key in options}
    settings = method_options(method, noise_std) | options
    return VMLMAP(denoiser, operator, noise_std=noise_std, **settings).solve(y, **running)
