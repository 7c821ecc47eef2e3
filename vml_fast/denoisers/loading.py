"""Loading a denoiser by embedded name, from a folder, or from a safetensors file."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from vml_fast.denoisers.accelerate import accelerate
from vml_fast.denoisers.base import ScaledDenoiser, checked_image_shape
from vml_fast.denoisers.checkpoints import RECORD, Checkpoint, build_network, read_checkpoint
from vml_fast.denoisers.consistency import ConsistencyDenoiser
from vml_fast.denoisers.edm import EDMDenoiser
from vml_fast.denoisers.latent import LatentDenoiser
from vml_fast.denoisers.latent_loading import LatentFolder, find_latent, load_autoencoder
from vml_fast.denoisers.precision import network_dtype
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.denoisers.vp import VPDenoiser, alphas_cumprod, zero_terminal_snr
from vml_fast.devices import find_device
from vml_fast.errors import InputError
from vml_fast.ops.backends import check_backend

PRIORS = Path(__file__).parent / "priors"
EMBEDDED = tuple(sorted(record.parent.name for record in PRIORS.glob(f"*/{RECORD}")))
"""Names of the priors that come with the package."""


def load_denoiser(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    dtype: str = "float32",
    backend: str = "auto",
    **options: Any,
) -> ScaledDenoiser | LatentDenoiser:
    """Load a pre-trained network as a denoiser ``D(x, sigma)``.

    A folder holds a diffusers ``UNet2DModel`` (``config.json`` and safetensors, whole, sharded or
    ``.fp16.``; or ``unet/`` and ``scheduler/``, a pipeline) and says how to use it:

    * ``denoiser.json``: ``{"kind": "edm", "image_shape": [3, 64, 64], "sigma_data": 0.5,
      "sigma_min": 0.002, "sigma_max": 80.0, "noise_scale": 1.0, "pixel_unshuffle": 1}``, or
      ``{"kind": "vp", "prediction": "eps" | "x0" | "v", "schedule": "linear" | "scaled_linear" |
      "cosine", "steps": 1000, "beta_start": ..., "beta_end": ..., "zero_terminal_snr": false}``, or
      with ``"alphas_cumprod": [...]`` in place of the schedule; or, with the fields of "edm",
      ``{"kind": "consistency"}``: a `ConsistencyDenoiser`; only ``kind`` is required;
    * else a diffusers ``scheduler/scheduler_config.json`` or ``scheduler_config.json``;
    * ``options`` complete and override both.

    A latent prior is a folder with an autoencoder (diffusers' `AutoencoderKL` or `VQModel`) in
    ``autoencoder/`` and a denoiser of its latents, with a record of its own, in ``denoiser/``; its
    ``denoiser.json`` is ``{"kind": "latent", "image_shape": [3, 64, 64], "scaling_factor": 1.0,
    "shift_factor": 0.0, "pixel_unshuffle": 1, "autoencoder_std": 0.0}``, see `LatentDenoiser`. A
    diffusers pipeline with ``vqvae/`` or ``vae/`` beside ``unet/`` and ``scheduler/`` is one, too.

    The output folder of ``vml-fast train-prior`` stands for the ``prior/`` in it.

    A file is a ``.safetensors`` with the same JSON objects under "config" and "denoiser" in its
    metadata or in the ``.json`` file of the same stem, or with the folder's files beside it.

    Args:
        name_or_path: one of `EMBEDDED`, or a path.
        device: where the network runs, "auto" for the GPU where there is one; the CPU by default.
        dtype: of the network's weights: "float32", "float64", "bfloat16", "float16": the network
            runs as it was trained; or "auto": bfloat16 on a CUDA device and on a CPU with AMX or
            AVX512-BF16, else float32, and the network is made fast by `accelerate`. The state stays
            in x's precision, and the output is at least float32.
        backend: of the fused op of a network that ``dtype="auto"`` makes fast: "auto", "reference",
            "cpp", "triton" or "cuda"; a network of another dtype has no fused op.
        **options: fields of ``denoiser.json``, for example ``kind="vp", prediction="v"``.

    Returns:
        The denoiser, its weights frozen; a `LatentDenoiser` of a latent prior.

    Raises:
        InputError: an unknown name, a missing or damaged part, weights that do not fit the
            configuration, or an option that is unknown or outside its range.
        MissingExtra: diffusers is not installed.
        BackendUnavailable: a backend asked for by name cannot run; the message says why.
    """
    check_backend(backend)
    path = find_prior(name_or_path)
    latent = find_latent(path)
    if latent is not None:
        return _load_latent(latent, device, dtype, backend, options)
    return _load_network(path, device, dtype, backend, options)


def find_prior(name_or_path: str | Path) -> Path:
    """Where a prior lies.

    Args:
        name_or_path: as for `load_denoiser`: an embedded name comes before a path of that name, and
            the output folder of ``vml-fast train-prior`` stands for the ``prior/`` in it.

    Returns:
        An existing folder or file; what it holds is not looked at.

    Raises:
        InputError: an unknown name, or a path where nothing is.
    """
    if isinstance(name_or_path, str) and name_or_path in EMBEDDED:
        return PRIORS / name_or_path
    if not isinstance(name_or_path, str | Path) or str(name_or_path) == "":
        raise InputError(f"name_or_path must be a name or a path, got {name_or_path!r}")
    path = Path(name_or_path)
    try:
        exists = path.exists()
    except OSError:  # for example a name that is too long
        exists = False
    if not exists:
        raise InputError(
            f"prior {str(name_or_path)!r} must be an embedded name "
            f"({', '.join(EMBEDDED) or 'none in this installation'}) "
            "or the path of a folder or .safetensors file, and it is none of these"
        )
    of_a_run = path / "prior"  # the folder that train-prior fills beside checkpoints and samples
    return of_a_run if (of_a_run / RECORD).is_file() else path


def _load_network(
    path: Path,
    device: str | torch.device | None,
    dtype: str,
    backend: str,
    options: dict[str, Any],
) -> ScaledDenoiser:
    """A denoiser that is one network."""
    target = find_device(device)
    weights = network_dtype(dtype, target)
    checkpoint = read_checkpoint(path)
    kind, fields = _record(checkpoint, options)
    _check_numbers(checkpoint, fields)
    factor = fields.pop("pixel_unshuffle", 1)
    image_shape = _image_shape(checkpoint, fields.pop("image_shape", None), factor)
    network = build_network(checkpoint)
    if factor > 1:
        network = PixelUnshuffled(network, factor)
    try:
        denoiser = kind.build(network, image_shape, fields)
    except (TypeError, ValueError) as error:  # InputError, or a value of another type
        raise InputError(f"{checkpoint.path}: {error}") from None
    if dtype == "auto":
        return accelerate(denoiser.to(target), backend=backend)
    return denoiser.to(target, weights)


def _load_latent(
    folder: LatentFolder,
    device: str | torch.device | None,
    dtype: str,
    backend: str,
    options: dict[str, Any],
) -> LatentDenoiser:
    """Both parts of a latent prior; the autoencoder has the dtype of the denoiser's network."""
    if options:
        raise InputError(
            f"{folder.path} is a latent prior, whose fields stand in its {RECORD}, "
            f"got the options {', '.join(sorted(options))}"
        )
    denoiser = _load_network(folder.denoiser, device, dtype, backend, {})
    autoencoder = load_autoencoder(folder, denoiser.image_shape)
    autoencoder.to(find_device(device), denoiser.network_dtype)
    return LatentDenoiser(denoiser, autoencoder, autoencoder_std=folder.autoencoder_std)


class Kind(NamedTuple):
    """A way to turn a network into a denoiser, and the fields of ``denoiser.json`` it takes."""

    build: Callable[[nn.Module, tuple[int, int, int], dict[str, Any]], ScaledDenoiser]
    fields: frozenset[str]


def _build_edm(
    network: nn.Module, image_shape: tuple[int, int, int], fields: dict[str, Any]
) -> ScaledDenoiser:
    return EDMDenoiser(network, image_shape, **fields)


def _build_consistency(
    network: nn.Module, image_shape: tuple[int, int, int], fields: dict[str, Any]
) -> ScaledDenoiser:
    return ConsistencyDenoiser(network, image_shape, **fields)


def _build_vp(
    network: nn.Module, image_shape: tuple[int, int, int], fields: dict[str, Any]
) -> ScaledDenoiser:
    names = ("schedule", "steps", "beta_start", "beta_end")
    given = {name: fields[name] for name in names if name in fields}
    if "alphas_cumprod" in fields and given:
        raise InputError(f"alphas_cumprod must be given alone, got it with {', '.join(given)}")
    if "alphas_cumprod" in fields:
        levels = torch.as_tensor(fields["alphas_cumprod"], dtype=torch.float64)
    else:
        levels = alphas_cumprod(**{"schedule": "linear", **given})
    if fields.get("zero_terminal_snr", False):
        levels = zero_terminal_snr(levels)
    return VPDenoiser(network, image_shape, levels, fields.get("prediction", "eps"))


_EDM_FIELDS = frozenset({"sigma_data", "sigma_min", "sigma_max", "noise_scale"})

KINDS = {
    "edm": Kind(_build_edm, _EDM_FIELDS),
    "consistency": Kind(_build_consistency, _EDM_FIELDS),
    "vp": Kind(
        _build_vp,
        frozenset(
            {
                "prediction",
                "schedule",
                "steps",
                "beta_start",
                "beta_end",
                "alphas_cumprod",
                "zero_terminal_snr",
            }
        ),
    ),
}
"""What ``kind`` may be."""

_COMMON = frozenset({"kind", "image_shape", "pixel_unshuffle"})


def _record(checkpoint: Checkpoint, options: dict[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """The kind of denoiser and its fields; options come before the checkpoint's own record."""
    own = checkpoint.record
    name = options.get("kind", own.get("kind"))
    if name is None:
        raise InputError(
            f"{checkpoint.path} must say how its network is used: add {RECORD} or a diffusers "
            f"scheduler_config.json, or give kind='edm', 'consistency' or 'vp'"
        )
    if name not in tuple(KINDS):
        raise InputError(f"kind must be one of {', '.join(KINDS)}, got {name!r}")
    kind = KINDS[name]
    allowed = kind.fields | _COMMON
    if own.get("kind") != name:  # fields of another kind mean nothing here
        own = {key: value for key, value in own.items() if key in _COMMON}
    fields = own | options
    for key in fields:
        if key not in allowed:
            raise InputError(
                f"{checkpoint.path}: fields of kind {name} must be among "
                f"{', '.join(sorted(allowed))}, got {key!r}"
            )
    del fields["kind"]
    return kind, fields


def _check_numbers(checkpoint: Checkpoint, fields: dict[str, Any]) -> None:
    for name in ("sigma_data", "sigma_min", "sigma_max", "noise_scale", "beta_start", "beta_end"):
        value = fields.get(name, 1.0)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise InputError(f"{checkpoint.path}: {name} must be a number, got {value!r}")


def _image_shape(checkpoint: Checkpoint, given: Any, factor: Any) -> tuple[int, int, int]:
    """``(C, H, W)``, given or read off the network's configuration."""
    if type(factor) is not int or factor < 1:
        raise InputError(f"pixel_unshuffle must be a whole number of at least 1, got {factor!r}")
    channels = checkpoint.config.get("in_channels")
    if given is None:
        size = checkpoint.config.get("sample_size")
        sides: list[Any] = size if isinstance(size, list) else [size, size]
        if type(channels) is not int or not all(type(side) is int for side in sides):
            raise InputError(
                f"{checkpoint.path}: image_shape must be given, "
                "since the network's configuration has no in_channels and sample_size"
            )
        given = (channels // factor**2, *(side * factor for side in sides))
    shape = checked_image_shape(given)
    if shape[0] * factor**2 != channels or shape[1] % factor or shape[2] % factor:
        raise InputError(
            f"{checkpoint.path}: image_shape {shape} does not fit a network of {channels} input "
            f"channels with pixel_unshuffle {factor}"
        )
    return shape
