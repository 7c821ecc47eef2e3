"""The named forms of VML-MAP, the methods it is compared with, and the one-line `restore`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from vml_fast.arrays import Array
from vml_fast.errors import InputError
from vml_fast.operators.base import LinearOperator
from vml_fast.solvers.base import Solver
from vml_fast.solvers.daps import DAPS
from vml_fast.solvers.ddrm import DDRM
from vml_fast.solvers.dps import DPS
from vml_fast.solvers.map_ga import MAPGA
from vml_fast.solvers.pigdm import PiGDM
from vml_fast.solvers.result import Result
from vml_fast.solvers.vml_map import VMLMAP

METHODS: dict[str, str] = {
    "vml-map": "plain gradient descent on the VML loss",
    "vml-map-pre": "with the preconditioner built from the SVD of H",
    "vml-map-tau": "plain, not optimized at noise levels up to sigma_y",
    "vml-map-tau-pre": "preconditioned, not optimized at noise levels up to sigma_y",
}
"""Method name to what it is; the names of arXiv 2512.10524."""

BASELINES: dict[str, str] = {
    "map-ga": "MAP-GA with a consistency model and a prior",
    "map-ga-np": "MAP-GA with a consistency model, no prior",
    "map-ga-d": "MAP-GA with the denoiser in place of a consistency model, and a prior",
    "map-ga-d-np": "MAP-GA with the denoiser in place of a consistency model, no prior",
    "ddrm": "denoising diffusion restoration models",
    "pigdm": "pseudoinverse-guided diffusion",
    "daps": "decoupled annealing posterior sampling",
    "dps": "diffusion posterior sampling",
}
"""The methods that the two papers compare with, and MAP-GA itself; `restore` takes them too."""

_SOLVERS: dict[str, type[Solver]] = {"ddrm": DDRM, "pigdm": PiGDM, "daps": DAPS, "dps": DPS}

_SOLVE_KEYWORDS = (
    "seed", "sample_index", "condition", "initial", "callback", "progress", "keep_images",
    "max_batch",
)  # fmt: skip


def method_options(method: str, noise_std: float | Array = 0.0) -> dict[str, Any]:
    """The keywords of `VMLMAP` that make a named method.

    Raises:
        InputError: there is no such method.
    """
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"method is {method!r}; it must be one of {', '.join(METHODS)}.")
    return {
        "preconditioner": "auto" if method.endswith("-pre") else None,
        "stop_sigma": noise_std if "-tau" in method else None,
    }


def restore(
    y: Array,
    operator: LinearOperator,
    denoiser: Callable[..., Tensor],
    *,
    method: str = "vml-map-pre",
    noise_std: float | Array = 0.0,
    **options: Any,
) -> Result:
    """Restore a batch of measurements in one line.

    Args:
        y: (B, *measurement_shape), y = H x + noise, images in [-1, 1]; of torch, NumPy or CuPy.
        operator: H.
        denoiser: D(x, sigma); for the forms of VML-MAP a `LatentDenoiser`, too (the tau forms
            then hold sigma_y, of images, against the noise levels of latents).
        method: a name of `METHODS` or `BASELINES`.
        noise_std: sigma_y in units of y (images in [-1, 1]), one number or (B,), in [0, 1e6].
        **options: any keyword of the method's solver (`VMLMAP`, `MAPGA`, ...) or of its `solve`;
            "map-ga" and "map-ga-np" need `consistency`.

    Returns:
        The restoration, in arrays of the kind of y; see `Result`.

    Raises:
        InputError: an argument is of the wrong shape, dtype, range or name.
        BackendUnavailable: a backend was named and cannot run here, or `compile` or `cuda_graph`
            is True and cannot be had.
    """
    running = {key: options.pop(key) for key in _SOLVE_KEYWORDS if key in options}
    solver, settings = _solver(method, noise_std, options)
    return solver(denoiser, operator, noise_std=noise_std, **settings).solve(y, **running)


def _solver(
    method: str, noise_std: float | Array, options: dict[str, Any]
) -> tuple[Callable[..., Solver], dict[str, Any]]:
    """The class of a method, and its keywords with the caller's."""
    if isinstance(method, str) and method in METHODS:
        return VMLMAP, method_options(method, noise_std) | options
    if not isinstance(method, str) or method not in BASELINES:
        names = ", ".join((*METHODS, *BASELINES))
        raise InputError(f"method is {method!r}; it must be one of {names}.")
    if method in _SOLVERS:
        return _SOLVERS[method], options
    by_denoiser = method.startswith("map-ga-d")
    if by_denoiser == (options.get("consistency") is not None):
        rule = "takes no consistency" if by_denoiser else "needs consistency, a model C(x, sigma)"
        raise InputError(f"method is {method!r}, which {rule}; map-ga-d takes the denoiser alone.")
    return MAPGA, {"use_prior": not method.endswith("-np")} | options
