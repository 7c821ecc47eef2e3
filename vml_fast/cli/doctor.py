"""`vml-fast doctor`: what is here, what can run, and why not."""

from __future__ import annotations


def doctor() -> None:
    """Show versions, processor, GPUs, backends (and why one cannot run) and embedded priors."""
    from vml_fast.cli.diagnosis import print_diagnosis

    print_diagnosis()
