"""The fused operations of the hot path, one file per op; `backends` says which versions run here.

Every op has one name in five places: its reference here (plain PyTorch, the specification), a
Triton kernel, a C++ and a CUDA implementation, a test and a benchmark.
"""

from vml_fast.ops.backends import BACKENDS, OPS, availability, resolve

__all__ = ["BACKENDS", "OPS", "availability", "resolve"]
