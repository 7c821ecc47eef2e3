"""Timings of every op, of the inner step and of whole solves; see `docs/benchmarks`."""
