"""Triton kernels of the fused ops, one file per op; installed as `vml_fast.kernels`.

Each file holds the kernels of one op and a launcher with the name, signature and outputs of the
op's reference in `vml_fast/ops/`. What they share: `library` makes a launcher an operator of
PyTorch, `images` finds the elements of a tensor in any memory format, `checks` refuses wrong
arguments, `settings` holds the launch settings and says on which device they were measured.
"""

from . import library

__all__ = ["library"]
