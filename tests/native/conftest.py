"""Tests of the kernels may run another build of the compiled ops, as those in tests/ops may."""

from tests.ops.conftest import LIBRARY

__all__ = ["LIBRARY"]
