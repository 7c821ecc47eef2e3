"""Reading network checkpoints: safetensors and JSON, never pickled code.

A checkpoint is a folder as diffusers writes it (``config.json`` and
``diffusion_pytorch_model.safetensors``, whole or sharded; with ``unet/`` and ``scheduler/`` folders
for a pipeline), or one safetensors file. Its record says how the network is used as a denoiser: the
content of ``denoiser.json``, else what a diffusers scheduler's configuration says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from vml_fast.errors import InputError, one_line, require

CONFIG = "config.json"
RECORD = "denoiser.json"
WEIGHTS = "diffusion_pytorch_model"
SCHEDULERS = ("scheduler/scheduler_config.json", "scheduler_config.json")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
NETWORKS = ("UNet2DModel",)
"""Classes of diffusers that a ``config.json`` may name."""

# Names of attention weights in older diffusers checkpoints.
_RENAMED = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}


@dataclass(frozen=True)
class Checkpoint:
    """What was found at a path; nothing but JSON has been read yet."""

    path: Path
    config: dict[str, Any]
    record: dict[str, Any]
    files: tuple[Path, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Find the parts of a checkpoint.

    Args:
        path: an existing folder or safetensors file.

    Returns:
        The checkpoint; its record is empty where nothing says how to use the network.

    Raises:
        InputError: a part is missing, unreadable or of another kind.
    """
    return _read_folder(path) if path.is_dir() else _read_file(path)


def build_network(
    checkpoint: Checkpoint, classes: tuple[str, ...] = NETWORKS, kind: str = "network"
) -> nn.Module:
    """The checkpoint's network with its weights, in float32, on the CPU.

    Args:
        checkpoint: what was found.
        classes: of diffusers, that its configuration may name.
        kind: what it is, for the error.

    Raises:
        InputError: an unknown class, a configuration that cannot be built, corrupted weights, or
            weights that do not fit the configuration.
        MissingExtra: diffusers is not installed.
    """
    name = checkpoint.config.get("_class_name")
    if name not in classes:
        raise InputError(
            f"{checkpoint.path}: _class_name of the {kind} must be {' or '.join(classes)}, "
            f"got {name!r}"
        )
    network_class = getattr(require("diffusers", "diffusers"), name)
    try:
        with torch.random.fork_rng(devices=[]):  # the user's generator is not moved
            network: nn.Module = network_class.from_config(checkpoint.config)
    except Exception as error:  # diffusers and torch raise many kinds, all about the configuration
        reason = one_line(error)
        raise InputError(
            f"{checkpoint.path}: no {name} can be built from {CONFIG}: {reason}"
        ) from None
    weights = _renamed(_read_weights(checkpoint.files), network)
    _check_fit(checkpoint.path, weights, network)
    network.load_state_dict(weights)
    return network


def _read_folder(folder: Path) -> Checkpoint:
    inner = folder
    if not (folder / CONFIG).is_file() and (folder / "unet" / CONFIG).is_file():
        inner = folder / "unet"
    config = read_json(inner / CONFIG, missing=f"{folder} must hold {CONFIG} or unet/{CONFIG}")
    return Checkpoint(folder, config, _folder_record(folder), weight_files(inner))


def _folder_record(folder: Path) -> dict[str, Any]:
    if (folder / RECORD).is_file():
        return read_json(folder / RECORD)
    for name in SCHEDULERS:
        if (folder / name).is_file():
            return record_of_scheduler(folder / name)
    return {}


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files of a folder.

    Raises:
        InputError: there are none, or some of them are missing.
    """
    for variant in ("", ".fp16"):
        whole = folder / f"{WEIGHTS}{variant}.safetensors"
        if whole.is_file():
            return (whole,)
        index = folder / f"{WEIGHTS}.safetensors.index{variant}.json"
        if index.is_file():
            return _shards(index)
    if any(file.suffix in PICKLED for file in folder.iterdir()):
        raise InputError(
            f"{folder} must hold {WEIGHTS}.safetensors; .bin and .pt files are pickled code, "
            "which is never read"
        )
    raise InputError(f"{folder} must hold {WEIGHTS}.safetensors, and there is none")


def _shards(index: Path) -> tuple[Path, ...]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index} must map tensors to files in its weight_map")
    files = tuple(index.parent / Path(name).name for name in sorted(set(map(str, names.values()))))
    for file in files:
        if not file.is_file():
            raise InputError(f"{index} names {file.name}, which is not in the folder")
    return files


def _read_file(path: Path) -> Checkpoint:
    if path.suffix in PICKLED:
        raise InputError(
            f"{path} must be a .safetensors file; {path.suffix} files are pickled code, "
            "which is never read"
        )
    if path.suffix != ".safetensors":
        raise InputError(f"{path} must be a .safetensors file or a folder that holds one")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {one_line(error)}") from None
    config = _embedded_json(path, metadata, "config")
    record = _embedded_json(path, metadata, "denoiser")
    if config is None:
        config = read_json(
            path.with_name(CONFIG),
            missing=f"{path} must come with its configuration: the key 'config' (a diffusers "
            f"{CONFIG}) in its metadata or in {path.stem}.json, or a {CONFIG} beside it",
        )
    return Checkpoint(
        path, config, _folder_record(path.parent) if record is None else record, (path,)
    )


def _embedded_json(path: Path, metadata: dict[str, str], key: str) -> dict[str, Any] | None:
    """``key`` of a file's metadata or of the JSON file of the same stem."""
    if key in metadata:
        return _parse(metadata[key], f"{path}, metadata '{key}'")
    sibling = path.with_suffix(".json")
    if sibling.is_file():
        value = read_json(sibling).get(key)
        if value is not None and not isinstance(value, dict):
            raise InputError(f"{sibling}: '{key}' must be a JSON object")
        return value
    return None


def record_of_scheduler(path: Path) -> dict[str, Any]:
    """Translate a diffusers scheduler's configuration into a record of kind "vp".

    Raises:
        InputError: the scheduler is not of the DDPM family, or a value has no translation.
    """
    config = read_json(path)
    if "beta_schedule" not in config and not config.get("trained_betas"):
        raise InputError(
            f"{path} must have a beta_schedule (a scheduler of the DDPM family); describe other "
            f"networks in {RECORD}"
        )
    record: dict[str, Any] = {
        "kind": "vp",
        "prediction": _translated(
            path, config, "prediction_type", {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
        ),
        "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr", False)),
    }
    if config.get("trained_betas"):
        return record | {"alphas_cumprod": _products(path, config["trained_betas"])}
    names = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
    record["schedule"] = _translated(path, config, "beta_schedule", names)
    record["steps"] = config.get("num_train_timesteps", 1000)
    if record["schedule"] != "cosine":
        record["beta_start"] = config.get("beta_start", 1e-4)
        record["beta_end"] = config.get("beta_end", 0.02)
    return record


def _products(path: Path, betas: Any) -> list[float]:
    try:
        return (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0).tolist()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{path}: trained_betas must be a list of numbers") from None


def _translated(path: Path, config: dict[str, Any], key: str, names: dict[str, str]) -> str:
    value = config.get(key, next(iter(names)))
    if value not in tuple(names):
        raise InputError(f"{path}: {key} must be one of {', '.join(names)}, got {value!r}")
    return names[value]


def read_json(path: Path, missing: str | None = None) -> dict[str, Any]:
    """A JSON object of a file, or an `InputError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(missing or f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {one_line(error)}") from None
    return _parse(text, str(path))


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:  # brackets or digits without end are among them
        raise InputError(f"{where} is not valid JSON: {one_line(error)}") from None
    if not isinstance(value, dict):
        raise InputError(f"{where} must be a JSON object, got a {type(value).__name__}")
    return value


def _read_weights(files: tuple[Path, ...]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for file in files:
        try:
            weights |= load_file(file)
        except (SafetensorError, OSError) as error:
            reason = one_line(error)
            raise InputError(f"{file} is not a readable safetensors file: {reason}") from None
    return weights


def _renamed(weights: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    known = network.state_dict().keys()
    renamed = {}
    for key, value in weights.items():
        current = key
        if key not in known:
            for old, new in _RENAMED.items():
                current = current.replace(old, new)
        renamed[current] = value
    return renamed


def _check_fit(path: Path, weights: dict[str, Tensor], network: nn.Module) -> None:
    expected = network.state_dict()
    for what, names in (
        ("lack", expected.keys() - weights.keys()),
        ("have the unknown", weights.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"{path}: the weights {what} {min(names)}{more}, so {CONFIG} does not fit"
            )
    for name, value in weights.items():
        if value.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has shape {tuple(value.shape)}, "
                f"but {CONFIG} asks for {tuple(expected[name].shape)}"
            )
        if not bool(value.isfinite().all()):
            raise InputError(f"{path}: {name} must be finite, but holds NaN or infinity")
