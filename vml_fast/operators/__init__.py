"""Measurement operators H: forward, adjoint, pseudo-inverse, SVD. No solver, no network."""

from vml_fast.operators.base import DEFAULT_RTOL, LinearOperator, SVDOperator
from vml_fast.operators.bicubic import BicubicSuperResolution
from vml_fast.operators.cg import conjugate_gradient
from vml_fast.operators.circular_blur import CircularBlur
from vml_fast.operators.colorization import Colorization
from vml_fast.operators.composition import Composition
from vml_fast.operators.denoising import Denoising
from vml_fast.operators.inpainting import Inpainting
from vml_fast.operators.kernels import gaussian_kernel, motion_kernel, uniform_kernel
from vml_fast.operators.linear_map import LinearMap
from vml_fast.operators.masks import (
    alternate_rows_mask,
    box_mask,
    expand_mask,
    half_mask,
    random_mask,
    subsample_mask,
)
from vml_fast.operators.matrix_operator import MatrixOperator
from vml_fast.operators.presets import PRESETS, Preset, preset
from vml_fast.operators.separable import SeparableOperator
from vml_fast.operators.separable_blur import SeparableBlur
from vml_fast.operators.super_resolution import SuperResolution
from vml_fast.operators.tasks import TASKS, task
from vml_fast.operators.walsh_hadamard import WalshHadamard

__all__ = [
    "DEFAULT_RTOL",
    "PRESETS",
    "TASKS",
    "BicubicSuperResolution",
    "CircularBlur",
    "Colorization",
    "Composition",
    "Denoising",
    "Inpainting",
    "LinearMap",
    "LinearOperator",
    "MatrixOperator",
    "Preset",
    "SVDOperator",
    "SeparableBlur",
    "SeparableOperator",
    "SuperResolution",
    "WalshHadamard",
    "alternate_rows_mask",
    "box_mask",
    "conjugate_gradient",
    "expand_mask",
    "gaussian_kernel",
    "half_mask",
    "motion_kernel",
    "preset",
    "random_mask",
    "subsample_mask",
    "task",
    "uniform_kernel",
]
