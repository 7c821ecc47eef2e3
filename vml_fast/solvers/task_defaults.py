"""Default settings per task, in one table: what `vml-fast restore` uses where nothing is said."""

from __future__ import annotations

from typing import NamedTuple


class TaskDefaults(NamedTuple):
    """Settings of a solve.

    Attributes:
        steps: N, noise levels.
        inner_steps: K, gradient steps per level.
    """

    steps: int
    inner_steps: int


GENERAL = TaskDefaults(steps=20, inner_steps=10)

# The last column: PSNR of K = 10 minus that of K = 5, vml-map-pre with N = 20 and emoji64, in dB;
# noiseless but for "denoise" (sigma_y = .1). Mean over 6 held-out images, over 16 for sr4, half and
# random70. `vml-fast restore --simulate --task ... --inner-steps K` tells the PSNR of any row.
# Rows without a figure: not measured, as what is like them.
DEFAULTS: dict[str, TaskDefaults] = {
    #                                N   K
    "denoise":           TaskDefaults(20, 5),   # -1.0
    "inpaint":           TaskDefaults(20, 10),
    "half":              TaskDefaults(20, 10),  # +.5
    "box":               TaskDefaults(20, 5),   # -.6
    "expand":            TaskDefaults(20, 10),  # +.2
    "random50":          TaskDefaults(20, 10),
    "random70":          TaskDefaults(20, 10),  # +.5
    "subsample2":        TaskDefaults(20, 10),  # +.7
    "alternate-rows":    TaskDefaults(20, 10),  # +.2
    "sr2":               TaskDefaults(20, 5),   # +.1
    "sr4":               TaskDefaults(20, 5),   # +.1
    "sr8":               TaskDefaults(20, 5),   # +.1
    "sr4-bicubic":       TaskDefaults(20, 5),
    "deblur-uniform":    TaskDefaults(20, 5),   # +.4, at 80
    "deblur-gauss":      TaskDefaults(20, 5),   # +.1
    "deblur-motion":     TaskDefaults(20, 5),   # .0
    "colorize":          TaskDefaults(20, 10),  # +.2
    "walsh-hadamard":    TaskDefaults(20, 10),  # +4.5
}  # fmt: skip
"""CLI task name to its settings.

K = 50, the paper's, takes five times the passes of K = 10 for -.7 (half) to +.2 dB (random70). The
null-space weight stays "auto": on random70, noiseless, where that is 0, weights of .05, .2, .5 and
1 change the PSNR by +.1, +.1, -.4 and -.7 dB (10 images, K = 5).
"""


def defaults_of(task: str) -> TaskDefaults:
    """The settings of a task; a task of the user's own has the general ones.

    Args:
        task: a CLI task name.
    """
    return DEFAULTS.get(task, GENERAL)
