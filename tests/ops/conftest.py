"""Lets the op tests run another build of the compiled ops.

VML_FAST_TEST_LIBRARY names a shared library that takes the place of the C++ one: a sanitized build,
or the CUDA kernels compiled for the CPU (tests/native). With VML_FAST_TEST_COMPOSED=1 compositions
are built from their parts, for a library without versions of its own.
"""

import dataclasses
import os
from pathlib import Path

from vml_fast.ops import OPS, backends, native

LIBRARY = os.environ.get("VML_FAST_TEST_LIBRARY")

if LIBRARY:
    problem = native._load(Path(LIBRARY))
    assert problem is None, problem
    native.load_cpu = lambda: None
if os.environ.get("VML_FAST_TEST_COMPOSED") == "1":
    backends._register_ops()
    for name, op in OPS.items():
        OPS[name] = dataclasses.replace(op, native=())
