"""Denoisers ``D(x, sigma)``: network adapters, the exact mixture denoiser, and loading."""

from vml_fast.denoisers.accelerate import Acceleration, accelerate
from vml_fast.denoisers.autoencoder import Autoencoder
from vml_fast.denoisers.base import Denoiser, ScaledDenoiser, Scalings
from vml_fast.denoisers.consistency import ConsistencyDenoiser
from vml_fast.denoisers.edm import EDMDenoiser
from vml_fast.denoisers.latent import LatentDenoiser
from vml_fast.denoisers.loading import EMBEDDED, load_denoiser
from vml_fast.denoisers.mixture import GaussianMixture, GaussianMixtureDenoiser
from vml_fast.denoisers.vp import VPDenoiser

__all__ = [
    "EMBEDDED",
    "Acceleration",
    "Autoencoder",
    "ConsistencyDenoiser",
    "Denoiser",
    "EDMDenoiser",
    "GaussianMixture",
    "GaussianMixtureDenoiser",
    "LatentDenoiser",
    "ScaledDenoiser",
    "Scalings",
    "VPDenoiser",
    "accelerate",
    "load_denoiser",
]
