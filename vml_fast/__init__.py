"""vml_fast: fast MAP image restoration with pre-trained diffusion models.

    import vml_fast as vf

    H = vf.operators.SuperResolution((3, 64, 64), factor=4)
    prior = vf.load_denoiser("emoji64")
    image = vf.restore(y, H, prior, method="vml-map-pre").image

The public names are imported on first use, so that the command line answers before torch is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vml_fast import denoisers, objective, operators, reference, solvers
    from vml_fast.denoisers import LatentDenoiser, accelerate, load_denoiser
    from vml_fast.solvers import (
        DAPS,
        DDRM,
        DPS,
        MAPGA,
        VMLMAP,
        LatentVMLMAP,
        PiGDM,
        Result,
        restore,
    )

__version__ = "0.1.0"

__all__ = [
    "DAPS",
    "DDRM",
    "DPS",
    "MAPGA",
    "VMLMAP",
    "LatentDenoiser",
    "LatentVMLMAP",
    "PiGDM",
    "Result",
    "__version__",
    "accelerate",
    "denoisers",
    "load_denoiser",
    "objective",
    "operators",
    "reference",
    "restore",
    "solvers",
]

_MODULES = ("denoisers", "objective", "operators", "reference", "solvers")
_HOMES = {
    "DAPS": "vml_fast.solvers",
    "DDRM": "vml_fast.solvers",
    "DPS": "vml_fast.solvers",
    "MAPGA": "vml_fast.solvers",
    "PiGDM": "vml_fast.solvers",
    "VMLMAP": "vml_fast.solvers",
    "LatentDenoiser": "vml_fast.denoisers",
    "LatentVMLMAP": "vml_fast.solvers",
    "Result": "vml_fast.solvers",
    "accelerate": "vml_fast.denoisers",
    "load_denoiser": "vml_fast.denoisers",
    "restore": "vml_fast.solvers",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"vml_fast.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'vml_fast' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
