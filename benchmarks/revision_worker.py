"""Times rounds of solves for `benchmarks.revisions`, with whichever `vml_fast` is on the path.

It holds what both revisions have in common: the public solvers alone. A line of standard input
names a case; the answer is the JSON of the round's seconds and of a few pixels of the result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import vml_fast as vf

SHAPE = (3, 64, 64)
BATCH = 4


def two_layers() -> Callable[..., Tensor]:
    """A network so small that what surrounds it is seen."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1)
    ).requires_grad_(False)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        scale = 1.0 / (1.0 + sigma.square()).sqrt().reshape(-1, 1, 1, 1)
        return scale.square() * x + 0.1 * layers(scale * x)

    return denoise


def cases() -> dict[str, Callable[[], Tensor]]:
    """Name to one solve."""
    images = torch.nn.functional.interpolate(
        torch.randn(BATCH, 3, 4, 4, generator=torch.Generator().manual_seed(1)).clamp(-1, 1),
        SHAPE[1:],
        mode="bilinear",
    )
    operator = vf.operators.task("sr4", SHAPE)
    matrix_free = vf.operators.LinearMap(operator.forward, SHAPE)
    y = operator.forward(images)
    small = two_layers()
    prior = vf.load_denoiser("emoji64")

    def solve(denoiser: Any, operator: Any, **options: Any) -> Callable[[], Tensor]:
        solver = vf.VMLMAP(denoiser, operator, **options)
        return lambda: solver.solve(y).image

    many = {"steps": 10, "inner_steps": 10}
    return {
        "emoji64, SVD": solve(prior, operator, steps=3, inner_steps=2),
        "small network, SVD": solve(small, operator, **many),
        "small network, SVD, jvp": solve(small, operator, jacobian="jvp", **many),
        "small network, no SVD, noiseless": solve(small, matrix_free, **many),
        "small network, no SVD, σ_y = .05": solve(small, matrix_free, noise_std=0.05, **many),
    }


def main() -> None:
    """Answer one round after another."""
    torch.set_num_threads(1)
    known = cases()
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        image = known[line.strip()]()
        seconds = time.perf_counter() - start
        print(json.dumps([seconds, image.flatten()[::997].tolist()]), flush=True)


if __name__ == "__main__":
    main()
