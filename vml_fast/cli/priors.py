"""The networks that options name."""

from __future__ import annotations

import hashlib

import torch

from vml_fast.denoisers import LatentDenoiser, ScaledDenoiser, load_denoiser
from vml_fast.denoisers.loading import EMBEDDED, find_prior
from vml_fast.errors import InputError


def load_prior(
    option: str, name: str, device: torch.device, dtype: str = "float32", backend: str = "auto"
) -> ScaledDenoiser | LatentDenoiser:
    """The prior of an option such as "--prior"; `dtype` and `backend` as in `load_denoiser`.

    Raises:
        InputError: it cannot be used; the message names the option.
    """
    if not name:
        raise InputError(
            f"{option} is empty; give an embedded name ({', '.join(EMBEDDED)}), a folder or a "
            ".safetensors file"
        )
    try:
        return load_denoiser(name, device=device, dtype=dtype, backend=backend)
    except InputError as error:
        raise InputError(f"{option} {name} cannot be used: {error}") from error


def load_image_prior(
    option: str, name: str, device: torch.device, dtype: str = "float32", backend: str = "auto"
) -> ScaledDenoiser:
    """`load_prior` for commands that take no latent prior.

    Raises:
        InputError: likewise, or it is a latent prior.
    """
    prior = load_prior(option, name, device, dtype, backend)
    if isinstance(prior, LatentDenoiser):
        raise InputError(f"{option} {name} is a latent prior; this command takes one of images")
    return prior


def weights_digest(prior: str) -> str:
    """Of a prior's weights, so that records of different ones are never mixed.

    A single file of weights has its own digest; several have that of their digests.

    Raises:
        InputError: there is no such prior.
    """
    path = find_prior(prior)
    files = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    whole = (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )
    return whole[:16]
