"""Autoencoders of any kind, and the latent denoiser around them."""

from __future__ import annotations

import json

import pytest
import torch

from tests.denoisers.linear_autoencoder import F64, IMAGE_SHAPE, LATENT_SHAPE, linear_autoencoder
from vml_fast.denoisers import Autoencoder, GaussianMixtureDenoiser, LatentDenoiser, load_denoiser
from vml_fast.denoisers.latent import reconstruction_error
from vml_fast.errors import InputError


def mixture(shape=LATENT_SHAPE):
    n = shape[0] * shape[1] * shape[2]
    covariance = 0.25 * torch.eye(n, dtype=F64)
    return GaussianMixtureDenoiser(
        torch.zeros(1, n, dtype=F64), covariance[None], image_shape=shape
    )


def kl_model(channels=3, latents=2):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=latents,
        norm_num_groups=4,
    )


def vq_model():
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.VQModel(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=2,
        num_vq_embeddings=32,
        norm_num_groups=4,
        scaling_factor=0.7,
    )


def test_encoding_undoes_decoding_whatever_the_scale_and_shift():
    z = torch.randn(3, *LATENT_SHAPE, dtype=F64)
    for scale, shift in ((1.0, 0.0), (0.3, -0.4)):
        autoencoder = linear_autoencoder(scale, shift)
        torch.testing.assert_close(autoencoder.encode(autoencoder.decode(z)), z)
    model = autoencoder.model
    torch.testing.assert_close(autoencoder.decode(z), model.decode(z / 0.3 - 0.4))


def test_kl_autoencoder_gives_the_mode_and_its_own_decoding():
    model = kl_model()
    autoencoder = Autoencoder(model, (3, 16, 16), shift_factor=0.1)
    assert autoencoder.latent_shape == (2, 8, 8)
    assert autoencoder.scaling_factor == model.config.scaling_factor == 0.18215
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    z = autoencoder.encode(x)
    torch.testing.assert_close(z, 0.18215 * (model.encode(x).latent_dist.mean - 0.1))
    torch.testing.assert_close(autoencoder.decode(z), model.decode(z / 0.18215 + 0.1).sample)
    assert not any(p.requires_grad for p in model.parameters()) and not model.training


def test_folding_pixels_is_undone_after_decoding():
    autoencoder = Autoencoder(kl_model(12), (3, 16, 16), pixel_unshuffle=2)
    assert autoencoder.latent_shape == (2, 4, 4)
    x = torch.rand(2, 3, 16, 16)
    inside = torch.nn.functional.pixel_unshuffle(x, 2)
    z = autoencoder.model.encode(inside).latent_dist.mean
    torch.testing.assert_close(autoencoder.encode(x), 0.18215 * z)
    folded = torch.nn.functional.pixel_unshuffle(autoencoder.decode(0.18215 * z), 2)
    torch.testing.assert_close(folded, autoencoder.model.decode(z).sample)


def test_vq_model_decodes_code_words_with_a_straight_through_derivative():
    model = vq_model()
    autoencoder = Autoencoder(model, (3, 16, 16))
    assert autoencoder.scaling_factor == 0.7
    x = torch.rand(2, 3, 16, 16)
    z = autoencoder.encode(x).requires_grad_(True)
    image = autoencoder.decode(z)
    torch.testing.assert_close(image, model.decode(z / 0.7).sample)
    code, *_ = model.quantize(z / 0.7)
    torch.testing.assert_close(image, model.decode(code, force_not_quantize=True).sample)
    (gradient,) = torch.autograd.grad(image.square().sum(), z)
    assert gradient.abs().max() > 0


def test_a_latent_denoiser_denoises_latents_and_knows_both_shapes():
    denoiser = mixture()
    prior = LatentDenoiser(denoiser, linear_autoencoder(), autoencoder_std=0.1)
    assert (prior.image_shape, prior.latent_shape) == (IMAGE_SHAPE, LATENT_SHAPE)
    assert (prior.sigma_min, prior.sigma_max) == (denoiser.sigma_min, denoiser.sigma_max)
    assert prior.scaling_factor == 0.5
    z, sigma = torch.randn(2, *LATENT_SHAPE, dtype=F64), torch.tensor([0.1, 2.0], dtype=F64)
    torch.testing.assert_close(prior(z, sigma), denoiser(z, sigma))


def test_reconstruction_error_of_an_image_that_has_latents_is_zero():
    autoencoder = linear_autoencoder()
    images = autoencoder.decode(torch.randn(2, *LATENT_SHAPE, dtype=F64))
    images[1] += 1.0
    error = reconstruction_error(autoencoder, images)
    assert error[0] < 1e-12 and 0.1 < error[1] < 1.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Autoencoder(object(), IMAGE_SHAPE), "autoencoder must have a method encode"),
        (lambda: Autoencoder(linear_autoencoder().model, (1, 8, 8)), "autoencoder must take"),
        (lambda: linear_autoencoder(scaling_factor=0.0), "scaling_factor must not be 0"),
        (lambda: linear_autoencoder(scaling_factor="1"), "scaling_factor must be a finite number"),
        (lambda: linear_autoencoder(shift_factor=float("nan")), "shift_factor must be a finite"),
        (
            lambda: Autoencoder(linear_autoencoder().model, IMAGE_SHAPE, pixel_unshuffle=3),
            "pixel_unshuffle must be a whole number",
        ),
        (lambda: LatentDenoiser(mixture(), linear_autoencoder().model), "must be an Autoencoder"),
        (lambda: LatentDenoiser(3, linear_autoencoder()), "denoiser must be a function"),
        (lambda: LatentDenoiser(mixture((1, 2, 2)), linear_autoencoder()), "they must be equal"),
        (
            lambda: LatentDenoiser(mixture(), linear_autoencoder(), autoencoder_std=-1.0),
            "autoencoder_std must be a number",
        ),
    ],
)
def test_bad_parts_get_one_sentence(make, words):
    with pytest.raises(InputError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def write_prior(folder, record):
    unet = pytest.importorskip("diffusers").UNet2DModel(
        sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), layers_per_block=1,
    )  # fmt: skip
    unet.save_pretrained(folder / "denoiser")
    (folder / "denoiser" / "denoiser.json").write_text('{"kind": "edm"}')
    kl_model().save_pretrained(folder / "autoencoder")
    (folder / "denoiser.json").write_text(json.dumps(record))
    return unet


def test_a_folder_of_both_parts_is_loaded(tmp_path):
    write_prior(tmp_path, {"kind": "latent", "scaling_factor": 2.0, "autoencoder_std": 0.05})
    prior = load_denoiser(tmp_path)
    assert (prior.image_shape, prior.latent_shape) == ((3, 16, 16), (2, 8, 8))
    assert (prior.scaling_factor, prior.autoencoder_std) == (2.0, 0.05)
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(prior.encode(x), 2.0 * kl_model().encode(x).latent_dist.mean)
    double = load_denoiser(tmp_path, dtype="float64")
    assert double.decode(double.encode(x.double())).dtype == torch.float64
    assert double.autoencoder.model_dtype == torch.float64


def test_a_pipeline_of_diffusers_is_loaded(tmp_path):
    unet = write_prior(tmp_path, {})
    (tmp_path / "denoiser.json").unlink()
    unet.save_pretrained(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    (tmp_path / "scheduler" / "scheduler_config.json").write_text('{"beta_schedule": "linear"}')
    vq_model().save_pretrained(tmp_path / "vqvae")
    prior = load_denoiser(tmp_path)
    assert (prior.image_shape, prior.latent_shape) == ((3, 16, 16), (2, 8, 8))
    assert prior.scaling_factor == 0.7 and prior.autoencoder_std == 0.0
    assert prior(torch.zeros(1, 2, 8, 8), torch.ones(1)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"kind": "latent", "sigma_data": 0.5}, "fields of kind latent must be among"),
        ({"kind": "latent", "image_shape": [3, 20, 16]}, "they must be equal"),
        ({"kind": "latent", "image_shape": "large"}, "image_shape must be"),
        ({"kind": "latent", "autoencoder_std": "big"}, "autoencoder_std must be a number"),
        ({"kind": "latent", "scaling_factor": [1]}, "scaling_factor must be a finite number"),
    ],
)
def test_a_wrong_record_gets_one_sentence(tmp_path, record, words):
    write_prior(tmp_path, record)
    with pytest.raises(InputError, match=words) as caught:
        load_denoiser(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_part_and_options_get_one_sentence(tmp_path):
    write_prior(tmp_path, {"kind": "latent"})
    with pytest.raises(InputError, match="is a latent prior, whose fields stand in"):
        load_denoiser(tmp_path, sigma_data=1.0)
    config = tmp_path / "autoencoder" / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace("AutoencoderKL", "UNet2DModel"))
    with pytest.raises(InputError, match="of the autoencoder must be AutoencoderKL or VQModel"):
        load_denoiser(tmp_path)
    config.unlink()
    with pytest.raises(InputError, match="must hold autoencoder/config"):
        load_denoiser(tmp_path)
