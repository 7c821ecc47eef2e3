"""Solvers: each restores y = H x + noise with a denoiser as its prior."""

from vml_fast.runtime.noise import Noise
from vml_fast.solvers.base import Solver
from vml_fast.solvers.daps import DAPS
from vml_fast.solvers.ddrm import DDRM
from vml_fast.solvers.dps import DPS
from vml_fast.solvers.latent_vml_map import LatentVMLMAP
from vml_fast.solvers.map_ga import MAPGA
from vml_fast.solvers.methods import BASELINES, METHODS, method_options, restore
from vml_fast.solvers.pigdm import PiGDM
from vml_fast.solvers.result import Result, State
from vml_fast.solvers.vml_map import VMLMAP

__all__ = [
    "BASELINES",
    "DAPS",
    "DDRM",
    "DPS",
    "MAPGA",
    "METHODS",
    "VMLMAP",
    "LatentVMLMAP",
    "Noise",
    "PiGDM",
    "Result",
    "Solver",
    "State",
    "method_options",
    "restore",
]
