"""Accelerated networks: the same numbers, everything fused that can be, the original untouched."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import vml_fast as vf
from tests.denoisers.networks import (
    EDMUNet,
    GuidedUNet,
    diffusers_unet,
    forward_and_vjp,
    noisy,
    randomized,
)
from tests.denoisers.numerics import relative_error
from vml_fast.denoisers import (
    EDMDenoiser,
    GaussianMixtureDenoiser,
    ScaledDenoiser,
    Scalings,
    VPDenoiser,
)
from vml_fast.denoisers.attention import attend, fastest
from vml_fast.denoisers.fused_norm import FusedNorm
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import BackendUnavailable, InputError
from vml_fast.evaluation.heldout import heldout_emoji
from vml_fast.runtime import jacobian

pytest.importorskip("diffusers")

CLASSES = {"class_labels": torch.tensor([1, 0, 3, 2])}
UNETS: dict[str, dict[str, Any]] = {
    "attention": {},
    "no-attention": {
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D"),
        "add_attention": False,
    },
    "one-head": {"attention_head_dim": None},
    "film": {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8},
    "classes": {"num_class_embeds": 4},
    "rescaled": {"mid_block_scale_factor": 2**0.5, "norm_eps": 1e-3, "layers_per_block": 2},
    "resampling-blocks": {
        "down_block_types": ("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
    },
    "skips-and-fourier": {
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        "block_out_channels": (32, 32),
        "time_embedding_type": "fourier",
    },
}


class ByNoiseLevel(EDMDenoiser):
    """An adapter whose network is told sigma itself, as one that takes its logarithm asks for."""

    def scalings(self, sigma: Tensor) -> Scalings:
        return super().scalings(sigma)._replace(noise=sigma)


def edm(network: nn.Module, image_shape: tuple[int, int, int] = (3, 8, 8)) -> EDMDenoiser:
    config = getattr(network, "config", {})
    adapter = ByNoiseLevel if config.get("time_embedding_type") == "fourier" else EDMDenoiser
    return adapter(network, image_shape, noise_scale=2.0)


def assert_equal_results(
    fast: ScaledDenoiser,
    plain: ScaledDenoiser,
    batch: int,
    tolerance: float = 1e-5,
    **condition: Tensor,
) -> None:
    x, sigma = noisy(plain, batch)
    condition = {name: value[:batch] for name, value in condition.items()}
    expected = forward_and_vjp(plain, x, sigma, **condition)
    actual = forward_and_vjp(fast, x, sigma, **condition)
    for got, wanted in zip(actual, expected, strict=True):
        error = relative_error(got, wanted)
        assert got.dtype == wanted.dtype
        assert error < tolerance


# --- diffusers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", UNETS)
def test_a_unet_of_diffusers(name: str, batch: int, channels_last: bool) -> None:
    plain = edm(diffusers_unet(**UNETS[name]))
    fast = vf.accelerate(plain, "float32", channels_last)
    assert type(fast) is type(plain)
    condition = CLASSES if name == "classes" else {}
    assert_equal_results(fast, plain, batch, **condition)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", ["attention", "film"])
def test_float64_leaves_no_room_for_chance(name: str, backend: str) -> None:
    plain = edm(diffusers_unet(**UNETS[name])).double()
    fast = vf.accelerate(plain, "float64", backend=backend)
    x, sigma = noisy(plain, 2)
    for got, wanted in zip(
        forward_and_vjp(fast, x.double(), sigma.double()),
        forward_and_vjp(plain, x.double(), sigma.double()),
        strict=True,
    ):
        error = relative_error(got, wanted)
        assert got.dtype == torch.float64
        assert error < 1e-12


def test_odd_sizes() -> None:
    one_level = diffusers_unet(
        block_out_channels=(8,),
        down_block_types=("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",),
    )
    plain = edm(one_level, (3, 7, 5))
    assert_equal_results(vf.accelerate(plain, "float32"), plain, 1)
    folded = PixelUnshuffled(diffusers_unet(in_channels=12, out_channels=12), 2)
    plain = edm(folded, (3, 12, 20))
    assert_equal_results(vf.accelerate(plain, "float32"), plain, 4)


def test_learned_variance_of_a_vp_network() -> None:
    plain = VPDenoiser(diffusers_unet(out_channels=6), (3, 8, 8))
    fast = vf.accelerate(plain, "float32")
    assert type(fast) is VPDenoiser
    assert_equal_results(fast, plain, 4)


@pytest.mark.parametrize("name", UNETS)
def test_every_pair_of_a_unet_is_fused(name: str) -> None:
    network = diffusers_unet(**UNETS[name])
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    followed_by_none = [m for n, m in network.named_modules() if n.endswith("group_norm")]
    condition = {"class_labels": CLASSES["class_labels"]} if name == "classes" else None
    done = vf.accelerate(edm(network), "float32", condition=condition).acceleration
    assert done.group_norms == len(norms)
    assert done.fused == len(norms) - len(followed_by_none) > 0
    assert done.attentions == len(followed_by_none)


def test_emoji64() -> None:
    plain = vf.load_denoiser("emoji64")
    fast = vf.accelerate(plain, "float32")
    assert fast.acceleration.fused == 23
    assert fast.acceleration.attentions == 4
    assert_equal_results(fast, plain, 1)


# --- other networks -----------------------------------------------------------------------------

FOREIGN = {
    "guided": lambda: GuidedUNet(film=False),
    "guided-film": lambda: GuidedUNet(film=True),
    "edm": lambda: EDMUNet(adaptive=False),
    "edm-adaptive": lambda: EDMUNet(adaptive=True),
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_network(name: str, batch: int) -> None:
    network = randomized(FOREIGN[name]())
    plain = edm(network, (3, 6, 9))
    fast = vf.accelerate(plain, "float32")
    assert fast.acceleration.fused == network.PAIRS
    assert fast.acceleration.group_norms == network.NORMS
    assert_equal_results(fast, plain, batch)


def test_a_foreign_network_in_float64() -> None:
    plain = edm(randomized(EDMUNet())).double()
    fast = vf.accelerate(plain, "float64")
    x, sigma = noisy(plain, 2)
    actual = forward_and_vjp(fast, x.double(), sigma.double())
    expected = forward_and_vjp(plain, x.double(), sigma.double())
    assert max(map(relative_error, actual, expected)) < 1e-12


def test_the_ops_run_in_a_foreign_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is of what happens: one op with SiLU per pair, one without per other norm."""
    calls: list[bool] = []
    run = FusedNorm.run

    def counted(self: FusedNorm, x: Tensor, *arguments: Any) -> Tensor:
        calls.append(arguments[-1])
        return run(self, x, *arguments)

    fast = vf.accelerate(edm(randomized(EDMUNet())), "float32")
    monkeypatch.setattr(FusedNorm, "run", counted)
    fast(*noisy(fast, 2))
    assert calls.count(True) == EDMUNet.PAIRS
    assert calls.count(False) == EDMUNet.NORMS - EDMUNet.PAIRS


def test_a_network_that_needs_a_condition() -> None:
    plain = edm(randomized(GuidedUNet(classes=4)))
    labels = {"y": torch.tensor([0, 3, 1, 1])}
    with pytest.warns(UserWarning) as caught:
        fast = vf.accelerate(plain, "float32")
    messages = [str(w.message) for w in caught]
    assert any("classes are needed" in m and "condition" in m for m in messages)
    assert any("nothing was fused" in m for m in messages)
    assert fast.acceleration.fused == 0
    assert_equal_results(fast, plain, 4, **labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast = vf.accelerate(plain, "float32", condition=labels)
    assert fast.acceleration.fused == GuidedUNet.PAIRS
    assert_equal_results(fast, plain, 4, **labels)


class Peculiar(nn.Module):
    """Norms that look like pairs and are none."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.enc = nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.out = nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x = self.enc(x)
        h = self.norm(x)
        pooled = x.mean((2, 3), keepdim=True)
        if self.way == "used twice":
            h = silu(h) + h
        elif self.way == "scale of the image":
            h = silu(h * pooled)
        elif self.way == "shift of the image":
            h = silu(pooled + h)
        elif self.way == "shift before scale":
            h = silu((h + t.reshape(-1, 1, 1, 1).expand(-1, 4, -1, -1)) * 3.0)
        elif self.way == "spatial scale":
            h = silu(h * torch.linspace(0, 1, h.shape[-1]))
        elif self.way == "overwritten input":
            x.mul_(2)
            h = silu(h) + x
        elif self.way == "no silu":
            h = torch.relu(h)
        elif self.way == "unused":
            h = silu(x)
        elif self.way == "silu":
            h = silu(h)
        return self.out(h)


@pytest.mark.parametrize(
    "way",
    [
        "used twice",
        "scale of the image",
        "shift of the image",
        "shift before scale",
        "spatial scale",
        "overwritten input",
        "no silu",
        "unused",
    ],
)
def test_what_is_no_pair_is_left_alone(way: str) -> None:
    plain = edm(randomized(Peculiar(way)))
    with pytest.warns(UserWarning, match="nothing was fused in the network Peculiar"):
        fast = vf.accelerate(plain, "float32")
    assert fast.acceleration.fused == 0
    if way == "overwritten input":  # has no VJP, with or without acceleration
        torch.testing.assert_close(fast(*noisy(plain, 2)), plain(*noisy(plain, 2)))
    else:
        assert_equal_results(fast, plain, 2)


@pytest.mark.parametrize("later", ["used twice", "scale of the image", "no silu", "spatial scale"])
def test_a_path_that_the_trial_did_not_take(later: str) -> None:
    plain = edm(randomized(Peculiar("silu")))
    fast = vf.accelerate(plain, "float32")
    assert fast.acceleration.fused == 1
    fast.network.way = plain.network.way = later
    assert_equal_results(fast, plain, 2)


def test_a_network_without_norms_runs_as_it_is() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.conv(x)

    plain = edm(Plain())
    with pytest.warns(UserWarning, match="nothing was fused") as caught:
        fast = vf.accelerate(plain, "float32")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert_equal_results(fast, plain, 2)


# --- half precision -----------------------------------------------------------------------------


DRIFT = {0.02: 0.07, 0.05: 0.06, 0.2: 0.025, 1.0: 0.01, 5.0: 0.01, 40.0: 0.01}
"""Noise level to the largest RMS of D in bfloat16 minus D in float32, in units of c_out: the part
of D that is the network's is c_out F. It is largest where the noise is no larger than the rounding
of the network's input."""


def test_drift_of_bfloat16_per_noise_level() -> None:
    plain = vf.load_denoiser("emoji64")
    fast = vf.accelerate(plain, "bfloat16")
    assert fast.network_dtype == torch.bfloat16
    _, images = heldout_emoji(limit=1)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    for sigma, bound in DRIFT.items():
        x, level = images + sigma * noise, torch.tensor([sigma])
        expected = plain(x, level)
        drift = (fast(x, level) - expected).square().mean().sqrt()
        assert drift / plain.scalings(level).out < bound, sigma
        assert drift < 0.1 * (expected - images).square().mean().sqrt(), sigma


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["guided-film", "edm-adaptive", "attention", "skips-and-fourier"])
def test_half_precision_stays_near(name: str, dtype: str) -> None:
    network = FOREIGN[name]() if name in FOREIGN else diffusers_unet(**UNETS[name])
    plain = edm(randomized(network))
    fast = vf.accelerate(plain, dtype)
    assert fast.acceleration.dtype == getattr(torch, dtype)
    assert fast.acceleration.fused == vf.accelerate(plain, "float32").acceleration.fused
    assert_equal_results(fast, plain, 4, tolerance=0.04)


def test_frequencies_and_gains_keep_their_precision() -> None:
    fast = vf.accelerate(edm(EDMUNet()), "bfloat16")
    assert fast.network.frequencies.dtype == torch.float32
    assert fast.network.blocks[0].norm0.weight.dtype == torch.float32
    assert fast.network.blocks[0].conv0.weight.dtype == torch.bfloat16
    fourier = vf.accelerate(edm(diffusers_unet(**UNETS["skips-and-fourier"])), "bfloat16")
    assert fourier.network.time_proj.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [("amx_bf16", torch.bfloat16), ("avx512_bf16", torch.bfloat16), ("avx512_f", torch.float32)],
)
def test_auto_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, capability: str, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    assert vf.accelerate(edm(diffusers_unet())).acceleration.dtype == dtype
    fast = vf.load_denoiser("emoji64", dtype="auto")
    assert fast.acceleration.dtype == fast.network_dtype == dtype


def test_only_auto_accelerates_on_loading() -> None:
    assert not hasattr(vf.load_denoiser("emoji64"), "acceleration")
    assert vf.load_denoiser("emoji64", dtype="auto").acceleration.fused == 23


# --- derivatives, compilation, checkpoints ------------------------------------------------------


def both_kinds() -> dict[str, ScaledDenoiser]:
    return {
        "diffusers": edm(diffusers_unet(**UNETS["film"])),
        "foreign": edm(randomized(EDMUNet())),
    }


@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_forward_mode(name: str) -> None:
    """<c, J v> of forward mode against <Jᵀ c, v> of the plain network in float64."""
    plain = both_kinds()[name]
    fast = vf.accelerate(plain, "float32")
    plain = copy.deepcopy(plain).double()
    x, sigma = noisy(plain, 2)
    v, c = torch.randn(2, *x.shape).unbind(0)
    leaf = x.double().requires_grad_(True)
    output = plain(leaf, sigma.double())
    expected = torch.autograd.grad(output, leaf, c.double())[0] * v
    for jvp in (
        lambda: torch.func.jvp(lambda u: fast(u, sigma), (x,), (v,))[1],
        lambda: jacobian.jvp(lambda u: fast(u, sigma), x)[1](v),
    ):
        torch.testing.assert_close((c * jvp()).sum(), expected.sum().float(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_functional_vjp(name: str) -> None:
    fast = vf.accelerate(both_kinds()[name], "float32")
    x, sigma = noisy(fast, 2)
    c = torch.randn_like(x)
    output, product = torch.func.vjp(lambda u: fast(u, sigma), x)
    leaf = x.clone().requires_grad_(True)
    again = fast(leaf, sigma)
    torch.testing.assert_close(output, again.detach(), rtol=0, atol=0)
    torch.testing.assert_close(product(c)[0], torch.autograd.grad(again, leaf, c)[0])


@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_a_gradient_of_the_noise_level_is_not_lost(name: str) -> None:
    plain = both_kinds()[name]
    fast = vf.accelerate(plain, "float32")
    x, sigma = noisy(plain, 2)
    gradients = []
    for denoiser in (plain, fast):
        level = sigma.clone().requires_grad_(True)
        gradients.append(torch.autograd.grad(denoiser(x, level).square().sum(), level)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_compiles_to_one_graph(name: str) -> None:
    plain = both_kinds()[name]
    fast = vf.accelerate(plain, "float32")
    x, sigma = noisy(plain, 2)
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(
        forward_and_vjp(compiled, x, sigma), forward_and_vjp(plain, x, sigma), strict=True
    ):
        error = relative_error(got, wanted)
        assert error < 1e-5
    torch.compiler.reset()


def kept_bytes(denoiser: ScaledDenoiser) -> int:
    """Bytes that a forward keeps for its VJP, each storage once."""
    storages: dict[int, int] = {}
    held = []

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        held.append(tensor)
        return tensor

    x, sigma = noisy(denoiser, 2)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        denoiser(x.requires_grad_(True), sigma)
    weights = sum(p.numel() * p.element_size() for p in denoiser.parameters())
    return sum(storages.values()) - weights


@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_checkpoints_keep_less_and_change_nothing(name: str) -> None:
    plain = both_kinds()[name]
    fast = vf.accelerate(plain, "float32")
    spare = vf.accelerate(plain, "float32", checkpointing=True)
    assert fast.acceleration.checkpoints == 0
    # Diffusers: 1 block and 1 attention down, 2 and 2 up, 1 more level each way, 2 and 1 between.
    assert spare.acceleration.checkpoints == {"diffusers": 12, "foreign": 2}[name]
    x, sigma = noisy(plain, 2)
    for got, wanted in zip(
        forward_and_vjp(spare, x, sigma), forward_and_vjp(fast, x, sigma), strict=True
    ):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    assert kept_bytes(spare) < 0.7 * kept_bytes(fast)


def test_a_checkpointed_block_stays_of_its_class() -> None:
    plain = edm(randomized(EDMUNet()))
    spare = vf.accelerate(plain, "float32", checkpointing=True)
    assert isinstance(spare.network.blocks[0], type(plain.network.blocks[0]))
    copied = copy.deepcopy(spare)
    x, sigma = noisy(plain, 2)
    torch.testing.assert_close(copied(x, sigma), spare(x, sigma), rtol=0, atol=0)


# --- attention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["auto", "sdpa", "matmul"])
def test_attention_by_its_definition(form: str) -> None:
    q, k, v = torch.randn(3, 2, 3, 7, 5, dtype=torch.float64).unbind(0)
    scores = torch.einsum("bhnd,bhmd->bhnm", q, k) / 5**0.5
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    expected = torch.einsum("bhnm,bhmd->bhnd", weights, v)
    torch.testing.assert_close(attend(q, k, v, form), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["sdpa", "matmul"])
def test_the_form_of_attention_changes_nothing(form: str) -> None:
    plain = edm(diffusers_unet())
    fast = vf.accelerate(plain, "float32", attention=form)
    assert_equal_results(fast, plain, 4)


def test_the_table_of_attention_forms() -> None:
    assert fastest("cpu", torch.float32, 64) == "sdpa"
    assert fastest("cpu", torch.bfloat16, 256) == "matmul"
    assert fastest("cpu", torch.bfloat16, 65536) == "sdpa"
    assert fastest("cuda", torch.bfloat16, 1024) == "sdpa"


# --- the original, and bad input ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["diffusers", "foreign"])
def test_the_original_is_unchanged(name: str, dtype: str) -> None:
    plain = both_kinds()[name]
    weights = copy.deepcopy(plain.state_dict())
    strides = [p.stride() for p in plain.parameters()]
    structure = str(plain)
    x, sigma = noisy(plain, 2)
    before = forward_and_vjp(plain, x, sigma)
    fast = vf.accelerate(plain, dtype)
    forward_and_vjp(fast, x, sigma)
    assert str(plain) == structure
    assert [p.stride() for p in plain.parameters()] == strides
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in plain.modules())
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(value, weights[key], rtol=0, atol=0)
    for got, wanted in zip(forward_and_vjp(plain, x, sigma), before, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0, atol=0)
    fast.to(torch.float64)
    assert plain.network_dtype == torch.float32


def test_everything_is_frozen() -> None:
    for plain in both_kinds().values():
        assert not any(p.requires_grad for p in vf.accelerate(plain).parameters())


def test_a_block_with_hooks_is_not_rebuilt() -> None:
    plain = edm(diffusers_unet())
    seen: list[int] = []
    block = plain.network.mid_block.resnets[0]
    block.conv1.register_forward_hook(lambda *_: seen.append(1))
    fast = vf.accelerate(plain, "float32")
    assert type(fast.network.mid_block.resnets[0]) is type(block)
    assert_equal_results(fast, plain, 2)
    assert len(seen) >= 2


def test_bad_input() -> None:
    plain = edm(diffusers_unet())
    fast = vf.accelerate(plain, "float32")
    mixture = GaussianMixtureDenoiser(torch.zeros(1, 3, 2, 2), torch.ones(1))
    callable_alone = EDMDenoiser(lambda u, t: u, (3, 8, 8))
    for denoiser, options, named in (
        (fast, {}, "accelerated already"),
        (mixture, {}, "denoiser.*GaussianMixtureDenoiser"),
        (callable_alone, {}, "denoiser"),
        (plain, {"dtype": "int8"}, "dtype.*int8"),
        (plain, {"attention": "flash"}, "attention.*flash"),
        (plain, {"backend": "metal"}, "backend.*metal"),
    ):
        with pytest.raises(InputError, match=named):
            vf.accelerate(denoiser, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the backend runs here")
def test_an_explicit_backend_that_cannot_run() -> None:
    with pytest.raises(BackendUnavailable, match="cuda"):
        vf.accelerate(edm(diffusers_unet()), backend="cuda")
