"""A diffusers model in a folder: ``config.json`` and safetensors."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from vml_fast.training.checkpoint import write_text

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIG = "config.json"


def save_model(model: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the configuration and the weights, each file in one step.

    Args:
        model: a diffusers model.
        folder: made if missing; other files in it stay.
        dtype: of the stored weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = copy.deepcopy(model)
    for parameter in stored.parameters():  # diffusers warns about `.to(dtype)` without need
        parameter.data = parameter.data.to(dtype, memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temporary:
        stored.save_pretrained(temporary, safe_serialization=True)
        config = json.loads((Path(temporary) / CONFIG).read_text(encoding="utf-8"))
        (Path(temporary) / WEIGHTS).chmod(0o644)
        os.replace(Path(temporary) / WEIGHTS, folder / WEIGHTS)
    config.pop("_name_or_path", None)  # a path of the training machine
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
