"""Split of an image folder into training and held-out groups, without near-duplicates across."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch
from torch import Tensor

from vml_fast.errors import InputError
from vml_fast.training.data import ImageFolder, to_model_range

GROUP_PATTERNS = {
    "emoji": (
        r"(^|-)1f3f[b-f]"  # skin tones
        r"|-fe0f|-200d-264[02]|-200d-27a1"  # emoji style, gender signs, facing right
        r"|1f48f|1f491|-200d-2764(-fe0f)?(?=.*-1f46[89]|.*-1f9d1)(-200d-1f48b)?"  # couples
        r"|(-200d-1f91d)?(-200d-)?(1f46[6-9a-d]|1f9d[1-3]|1f47[45])"  # people, families
    )
}
"""Named ``group_pattern`` values. ``emoji`` is for files named by their code points: it removes
skin tone, gender and person, so that all variants of one base design share a group."""


@dataclass(frozen=True)
class Split:
    """Indices of the images on either side, one list per group."""

    train: list[list[int]]
    heldout: list[list[int]]

    def sizes(self) -> dict[str, dict[str, int]]:
        """How many groups and images either side has, by its name."""
        sides = {"train": self.train, "heldout": self.heldout}
        return {
            name: {"groups": len(groups), "images": sum(map(len, groups))}
            for name, groups in sides.items()
        }


def compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Compile a regular expression or the name of one in `GROUP_PATTERNS`.

    Raises:
        InputError: it is not a regular expression.
    """
    if pattern is None:
        return None
    try:
        return re.compile(GROUP_PATTERNS.get(pattern, pattern))
    except re.error as error:
        raise InputError(
            f"group_pattern must be a regular expression or one of {', '.join(GROUP_PATTERNS)}, "
            f"got {pattern!r} ({error})"
        ) from error


def group_key(name: str, pattern: re.Pattern[str] | None) -> str:
    """Key of an image: its path without suffix, all matches of ``pattern`` removed."""
    stem = str(PurePosixPath(name).with_suffix(""))
    return stem if pattern is None else pattern.sub("", stem)


def near_duplicates(images: Tensor, tolerance: float, chunk: int = 1024) -> list[tuple[int, int]]:
    """Pairs of images that differ by less than ``tolerance`` after averaging to 32 x 32 or less.

    Args:
        images: ``(N, 3, S, S)`` uint8.
        tolerance: of the root-mean-square difference, in units of the range [-1, 1].
        chunk: images compared with all others at a time.
    """
    side = min(32, images.shape[-1])
    small = torch.nn.functional.adaptive_avg_pool2d(to_model_range(images), side).flatten(1)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(small), chunk):
        distance = torch.cdist(small[start : start + chunk], small) / small.shape[1] ** 0.5
        rows, columns = torch.where(distance < tolerance)
        found = zip((rows + start).tolist(), columns.tolist(), strict=True)
        pairs += [(i, j) for i, j in found if i < j]
    return pairs


def group_images(folder: ImageFolder, pattern: str | None, tolerance: float) -> list[str]:
    """Group of every image: images with one key, and near-duplicates, share a group.

    Args:
        folder: the images.
        pattern: regular expression (or name in `GROUP_PATTERNS`) of the parts of a name that do not
            make a new group; ``None`` makes each file its own.
        tolerance: see `near_duplicates`; 0 compares names only.

    Returns:
        One name per image: the smallest key of its group.

    Raises:
        InputError: ``pattern`` is not a regular expression.
    """
    compiled = compile_pattern(pattern)
    keys = [group_key(name, compiled) for name in folder.names]
    parent = {key: key for key in keys}

    def root(key: str) -> str:
        while parent[key] != key:
            key = parent[key]
        return key

    pairs = near_duplicates(folder.images, tolerance) if tolerance > 0 else []
    for i, j in pairs:
        low, high = sorted((root(keys[i]), root(keys[j])))
        parent[high] = low
    return [root(key) for key in keys]


def is_held_out(group: str, fraction: float, seed: int) -> bool:
    """Whether a hash of (seed, group), uniform on [0, 1), is below ``fraction``.

    A group's side does not depend on the other groups, so more images move none across.
    """
    digest = hashlib.sha256(f"{seed}/{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def split_groups(groups: list[str], fraction: float, seed: int) -> Split:
    """Split images by group; no group is on both sides.

    Args:
        groups: one name per image.
        fraction: expected share of the groups that is held out, in [0, 1).
        seed: of the hash that decides.

    Raises:
        InputError: one side is empty (the held-out side may be, at fraction 0).
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    split = Split([], [])
    for group in sorted(members):
        side = split.heldout if is_held_out(group, fraction, seed) else split.train
        side.append(members[group])
    if not split.train or (fraction > 0 and not split.heldout):
        raise InputError(
            "heldout_fraction must leave a group of images on each side, "
            f"got {fraction} for {len(members)} groups with seed {seed}; 0 holds out nothing"
        )
    return split
