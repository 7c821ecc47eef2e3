"""Solvers: each restores y = H x + noise with a denoiser as its prior."""

from vml_fast.runtime.noise import Noise
from vml_fast.solvers.base import Solver
from vml_fast.solvers.methods import METHODS, method_options, restore
from vml_fast.solvers.result import Result, State
from vml_fast.solvers.vml_map import VMLMAP

__all__ = ["METHODS", "VMLMAP", "Noise", "Result", "Solver", "State", "method_options", "restore"]
