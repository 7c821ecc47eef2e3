"""The settings of `vml-fast restore`, checked as far as they can be without any file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vml_fast.checks import check_count
from vml_fast.cli.checks import check_name, check_seed
from vml_fast.cli.environment import file_digest
from vml_fast.cli.priors import weights_digest
from vml_fast.denoisers.precision import DTYPES
from vml_fast.operators import TASKS
from vml_fast.ops.backends import BACKENDS
from vml_fast.runtime.traces import FORMS as TRACES
from vml_fast.solvers import METHODS
from vml_fast.solvers.checks import check_noise_std
from vml_fast.solvers.task_defaults import defaults_of

EXECUTION_ONLY = ("device", "backend", "batch_size", "figures")


@dataclass(frozen=True)
class RestoreSettings:
    """The options of the command, under their names there; see its help."""

    task: str
    prior: str
    method: str
    noise_std: float | None
    steps: int | None
    inner_steps: int | None
    traces: str
    seed: int
    task_seed: int
    samples: int
    simulate: bool
    mask: Path | None
    mask_keep: str
    resize: bool
    device: str
    dtype: str
    backend: str
    batch_size: int
    figures: bool

    def check(self) -> None:
        """Raise an InputError for a value outside what is allowed."""
        check_name("--task", self.task, TASKS)
        check_name("--method", self.method, METHODS)
        check_name("--traces", self.traces, TRACES)
        check_name("--dtype", self.dtype, ("auto", *DTYPES))
        check_name("--backend", self.backend, ("auto", *BACKENDS))
        if self.noise_std is not None:
            check_noise_std(self.noise_std, name="--noise-std")
        for name, value, least in (
            ("--steps", self.steps, 1),
            ("--inner-steps", self.inner_steps, 0),
            ("--samples", self.samples, 1),
            ("--batch-size", self.batch_size, 1),
        ):
            if value is not None:
                check_count(name, value, least)
        check_seed("--seed", self.seed)
        check_seed("--task-seed", self.task_seed)

    def solver_options(self) -> dict[str, Any]:
        """The task's defaults, and what the user said instead."""
        traces = None if self.traces == "drop" else self.traces
        said = {"steps": self.steps, "inner_steps": self.inner_steps, "traces": traces}
        return defaults_of(self.task)._asdict() | {k: v for k, v in said.items() if v is not None}

    def record(self, paths: list[Path]) -> dict[str, Any]:
        """All that decides the results of restoring `paths`, as JSON; the prior must exist."""
        chosen = asdict(self) | self.solver_options()
        for name in (*EXECUTION_ONLY, *(["traces"] if self.traces == "drop" else [])):
            del chosen[name]
        chosen["weights_sha256"] = weights_digest(self.prior)
        chosen["mask"] = None if self.mask is None else file_digest(self.mask)
        chosen["inputs"] = [file_digest(path) for path in paths]
        return chosen
