"""Loading: a saved network comes back as the same denoiser; what is wrong gets one sentence."""

import json
import math
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from vml_fast import errors
from vml_fast.denoisers import (
    EMBEDDED,
    ConsistencyDenoiser,
    EDMDenoiser,
    VPDenoiser,
    load_denoiser,
)
from vml_fast.denoisers.unshuffle import PixelUnshuffled
from vml_fast.errors import InputError

diffusers = pytest.importorskip("diffusers")

WEIGHTS = "diffusion_pytorch_model.safetensors"
OLDER_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
EDM = {"kind": "edm", "sigma_data": 0.4, "sigma_min": 0.01, "sigma_max": 50.0, "noise_scale": 8.0}


def tiny_unet(**config):
    return diffusers.UNet2DModel(
        **{
            "sample_size": 8,
            "in_channels": 3,
            "out_channels": 3,
            "block_out_channels": (8, 8),
            "norm_num_groups": 4,
            "layers_per_block": 1,
            "attention_head_dim": 4,
            "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
        }
        | config
    ).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with config.json and weights, and the network that it came from."""
    torch.manual_seed(1)
    network = tiny_unet()
    folder = tmp_path_factory.mktemp("prior") / "saved"
    network.save_pretrained(folder)
    return folder, network


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to damage, with denoiser.json."""
    shutil.copytree(saved[0], tmp_path / "prior")
    write(tmp_path / "prior" / "denoiser.json", EDM)
    return tmp_path / "prior"


def write(path, content) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def edit(path, **changes) -> None:
    write(path, json.loads(path.read_text()) | changes)


def inputs(channels: int = 3, size: int = 8):
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, channels, size, size, generator=generator)
    return x, torch.tensor([0.05, 3.0])


def assert_same(denoiser, expected, **tolerance) -> None:
    x, sigma = inputs()
    torch.testing.assert_close(denoiser(x, sigma), expected(x, sigma), **tolerance)


def own_edm(network) -> EDMDenoiser:
    return EDMDenoiser(network, (3, 8, 8), 0.4, 0.01, 50.0, 8.0)


# --- what works --------------------------------------------------------------------------------


def test_a_folder_comes_back_as_the_same_denoiser(folder, saved) -> None:
    for path in (folder, str(folder), f"{folder}/"):
        denoiser = load_denoiser(path)
        assert isinstance(denoiser, EDMDenoiser)
        assert denoiser.image_shape == (3, 8, 8)
        assert (denoiser.sigma_min, denoiser.sigma_max) == (0.01, 50.0)
        assert not any(p.requires_grad for p in denoiser.parameters())
        assert_same(denoiser, own_edm(saved[1]), rtol=0, atol=0)


def test_the_folder_of_a_training_run_is_its_prior(folder, saved, tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    shutil.copytree(folder, run / "prior")
    assert_same(load_denoiser(run), load_denoiser(folder))


def test_options_override_the_record(folder, saved) -> None:
    denoiser = load_denoiser(folder, sigma_data=0.7, noise_scale=1.0)
    assert_same(denoiser, EDMDenoiser(saved[1], (3, 8, 8), 0.7), rtol=0, atol=0)
    denoiser = load_denoiser(folder, kind="vp", prediction="v")
    assert_same(denoiser, VPDenoiser(saved[1], (3, 8, 8), "linear", "v"), rtol=0, atol=0)
    denoiser = load_denoiser(folder, kind="consistency")
    own = ConsistencyDenoiser(saved[1], (3, 8, 8))
    assert_same(denoiser, own, rtol=0, atol=0)
    assert load_denoiser(folder, image_shape=(3, 16, 24)).image_shape == (3, 16, 24)


def test_half_precision_files_run_in_single_precision(folder, saved) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    save_file(
        {k: v.half() for k, v in weights.items()}, folder / WEIGHTS.replace(".safe", ".fp16.safe")
    )
    denoiser = load_denoiser(folder)
    assert denoiser.network_dtype == torch.float32
    assert_same(denoiser, own_edm(saved[1]), rtol=1e-2, atol=1e-2)
    x, sigma = inputs()
    assert denoiser(x, sigma).dtype == torch.float32


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16", "auto"])
def test_dtypes(folder, saved, dtype) -> None:
    denoiser = load_denoiser(folder, dtype=dtype, device="cpu")
    if dtype == "auto":
        assert denoiser.network_dtype in (torch.float32, torch.bfloat16)
    else:
        assert denoiser.network_dtype == getattr(torch, dtype)
    x, sigma = inputs()
    assert denoiser(x, sigma).dtype == torch.float32
    assert_same(denoiser, own_edm(saved[1]), rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("capability", "fast"), [("amx_bf16", True), ("avx512_bf16", True), (None, False)]
)
def test_auto_follows_the_processor(folder, monkeypatch, capability, fast) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    expected = torch.bfloat16 if fast else torch.float32
    assert load_denoiser(folder, dtype="auto").network_dtype == expected


def test_the_backend_of_a_fast_network_can_be_chosen(folder) -> None:
    assert load_denoiser(folder, dtype="auto").acceleration.backend == "auto"
    found = load_denoiser(folder, dtype="auto", backend="reference")
    assert found.acceleration.backend == "reference"


def test_shards_and_older_attention_names(folder, saved) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    old = {}
    for key, value in weights.items():
        for new, name in (
            ("to_q", "query"),
            ("to_k", "key"),
            ("to_v", "value"),
            ("to_out.0", "proj_attn"),
        ):
            key = key.replace(f".{new}.", f".{name}.")
        old[key] = value
    assert old.keys() != weights.keys()
    names = sorted(old)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: old[key] for key in keys}, folder / file)
    where = {key: file for file, keys in parts.items() for key in keys}
    write(folder / f"{WEIGHTS}.index.json", {"weight_map": where})
    assert_same(load_denoiser(folder), own_edm(saved[1]), rtol=0, atol=0)
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"names b.safetensors, which is not in the folder"):
        load_denoiser(folder)


def test_pixel_unshuffle_and_learned_variance(tmp_path) -> None:
    network = tiny_unet(in_channels=12, out_channels=12)
    network.save_pretrained(tmp_path / "folded")
    write(tmp_path / "folded" / "denoiser.json", {"kind": "edm", "pixel_unshuffle": 2})
    denoiser = load_denoiser(tmp_path / "folded")
    assert denoiser.image_shape == (3, 16, 16)
    x, sigma = inputs(size=16)
    expected = EDMDenoiser(PixelUnshuffled(network, 2), (3, 16, 16))
    assert torch.equal(denoiser(x, sigma), expected(x, sigma))

    network = tiny_unet(out_channels=6)
    network.save_pretrained(tmp_path / "variance")
    denoiser = load_denoiser(tmp_path / "variance", kind="vp")
    x, sigma = inputs()
    eps = network(x / (1 + sigma**2).sqrt().reshape(-1, 1, 1, 1), denoiser.time_step(sigma)).sample
    expected = x - sigma.reshape(-1, 1, 1, 1) * eps[:, :3]
    torch.testing.assert_close(denoiser(x, sigma), expected)


SCHEDULERS = [
    {},
    {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "prediction_type": "v_prediction",
    },
    {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample"},
    {"num_train_timesteps": 50, "beta_end": 0.1, "rescale_betas_zero_snr": True},
    {"trained_betas": [0.01, 0.02, 0.05, 0.1], "num_train_timesteps": 4},
]


@pytest.mark.parametrize("settings", SCHEDULERS, ids=lambda c: "-".join(c) or "default")
@pytest.mark.parametrize("pipeline", [False, True])
def test_a_scheduler_of_diffusers_says_how_to_wrap(saved, tmp_path, settings, pipeline) -> None:
    scheduler = diffusers.DDPMScheduler(**settings)
    if pipeline:  # unet/ and scheduler/, as a pipeline is saved
        shutil.copytree(saved[0], tmp_path / "prior" / "unet")
        scheduler.save_pretrained(tmp_path / "prior" / "scheduler")
    else:
        shutil.copytree(saved[0], tmp_path / "prior")
        scheduler.save_pretrained(tmp_path / "prior")
    denoiser = load_denoiser(tmp_path / "prior")
    assert isinstance(denoiser, VPDenoiser)
    names = {"v_prediction": "v", "sample": "x0", "epsilon": "eps"}
    assert denoiser.prediction == names[scheduler.config.prediction_type]
    abar = scheduler.alphas_cumprod.double()
    abar = abar[abar > 1e-7]
    sigma = ((1 - abar) / abar).sqrt()
    torch.testing.assert_close(
        denoiser.time_step(sigma), torch.arange(len(abar), dtype=torch.float64), rtol=0, atol=0.05
    )
    x, _ = inputs()
    assert denoiser(x, sigma[:2]).isfinite().all()


def test_a_file_with_metadata_or_a_sibling(folder, saved, tmp_path) -> None:
    config, weights = (folder / "config.json").read_text(), load_file(folder / WEIGHTS)
    lone = tmp_path / "lone.safetensors"
    save_file(weights, lone, metadata={"config": config, "denoiser": json.dumps(EDM)})
    expected = own_edm(saved[1])
    assert_same(load_denoiser(lone), expected, rtol=0, atol=0)
    save_file(weights, lone)
    with pytest.raises(InputError, match=r"the key 'config' .* or in lone.json, or a config.json"):
        load_denoiser(lone)
    write(tmp_path / "lone.json", {"config": json.loads(config), "denoiser": EDM})
    assert_same(load_denoiser(lone), expected, rtol=0, atol=0)
    write(tmp_path / "lone.json", {"config": json.loads(config)})
    with pytest.raises(InputError, match="must say how its network is used"):
        load_denoiser(lone)
    assert_same(load_denoiser(lone, **EDM), expected, rtol=0, atol=0)
    write(tmp_path / "lone.json", {"config": 3})
    with pytest.raises(InputError, match="'config' must be a JSON object"):
        load_denoiser(lone)
    assert_same(load_denoiser(folder / WEIGHTS), expected, rtol=0, atol=0)


def test_loading_leaves_the_random_state_alone(folder) -> None:
    before = torch.get_rng_state()
    load_denoiser(folder)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_priors_denoise(name) -> None:
    """At a small level D is close to x, and a constant image survives a large one roughly."""
    denoiser = load_denoiser(name)
    x = torch.zeros(1, *getattr(denoiser, "latent_shape", denoiser.image_shape))
    noisy = x + 0.01 * torch.randn(x.shape)
    assert (denoiser(noisy, torch.tensor([0.01])) - noisy).abs().mean() < 0.05
    assert denoiser(80 * torch.randn(x.shape), torch.tensor([80.0])).abs().max() < 3


# --- what gets one sentence --------------------------------------------------------------------


def refuse(path, sentence: str, **arguments) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        load_denoiser(path, **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["emoji65", "no/such/folder", "x" * 5000, "", None, 3])
def test_unknown_names(name) -> None:
    refuse(
        name,
        "prior 'emoji65' must be an embedded name .* or the path of a folder"
        if name == "emoji65"
        else "must be",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int8"}, "dtype must be auto, float32, float64, bfloat16, float16, got 'int8'"),
        ({"backend": "fast"}, "backend is 'fast'; it must be 'auto' or one of"),
        ({"device": "tpu"}, "device is 'tpu'; it must be auto, cpu, cuda"),
        ({"device": "cuda:99"}, "device is 'cuda:99', but torch .* sees [0-9]+ CUDA devices"),
        ({"kind": "flow"}, "kind must be one of edm, consistency, vp, got 'flow'"),
        ({"sigma_date": 0.5}, "fields of kind edm must be among .*, got 'sigma_date'"),
        ({"kind": "vp", "sigma_data": 0.5}, "fields of kind vp must be among .*, got 'sigma_data'"),
        ({"sigma_data": -0.5}, "sigma_data must be positive, got -0.5"),
        ({"sigma_data": "half"}, "sigma_data must be a number, got 'half'"),
        ({"sigma_max": [80]}, r"sigma_max must be a number, got \[80\]"),
        ({"noise_scale": True}, "noise_scale must be a number, got True"),
        ({"image_shape": (3, 8)}, "image_shape must be"),
        ({"image_shape": (1, 8, 8)}, r"image_shape \(1, 8, 8\) does not fit a network of 3 input"),
        ({"pixel_unshuffle": 0}, "pixel_unshuffle must be a whole number of at least 1, got 0"),
        ({"pixel_unshuffle": 2}, "image_shape must be"),
        ({"kind": "vp", "prediction": "noise"}, "prediction must be one of eps, x0, v"),
        ({"kind": "vp", "schedule": "sqrt"}, "schedule must be one of"),
        ({"kind": "vp", "alphas_cumprod": [0.9, 0.5], "steps": 2}, "must be given alone"),
        ({"kind": "vp", "alphas_cumprod": "many"}, "prior: "),
        ({"kind": "vp", "alphas_cumprod": [0.5, 0.9]}, "strictly decreasing"),
    ],
)
def test_bad_options(folder, options, sentence) -> None:
    refuse(folder, sentence, **options)


def truncate(folder) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:5000])


def index_without_files(folder) -> None:
    (folder / WEIGHTS).unlink()
    write(folder / f"{WEIGHTS}.index.json", {})


def config(**changes):
    return lambda folder: edit(folder / "config.json", **changes)


def content(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def without(name):
    return lambda folder: (folder / name).unlink()


def weights(change):
    def damage(folder) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return damage


DAMAGE = {
    "no config": (without("config.json"), "must hold config.json or unet/config.json"),
    "broken config": (content("config.json", b"{"), "config.json is not valid JSON"),
    "binary config": (content("config.json", b"\xff\xfe\x00"), "cannot be read"),
    "list config": (content("config.json", b"[]"), "must be a JSON object, got a list"),
    "other class": (
        config(_class_name="DiTTransformer2DModel"),
        "_class_name of the network must be UNet2DModel, got 'DiTTransformer2DModel'",
    ),
    "impossible config": (
        config(block_out_channels=[8]),
        "no UNet2DModel can be built from config.json",
    ),
    "other widths": (config(block_out_channels=[16, 16]), "has shape .* but config.json asks for"),
    "more layers": (config(layers_per_block=2), "the weights lack"),
    "no size": (
        config(sample_size=None),
        "image_shape must be given, since the network's configuration has no in_channels",
    ),
    "fewer weights": (
        weights(lambda w: w.pop("conv_in.bias")),
        "the weights lack conv_in.bias, so config.json does not fit",
    ),
    "more weights": (
        weights(lambda w: w.update(extra=torch.zeros(1))),
        "the weights have the unknown extra, so config.json does not fit",
    ),
    "NaN": (
        weights(lambda w: w["conv_in.bias"].fill_(math.nan)),
        "conv_in.bias must be finite",
    ),
    "no weights": (without(WEIGHTS), f"must hold {WEIGHTS}, and there is none"),
    "truncated weights": (truncate, "is not a readable safetensors file"),
    "empty weights": (content(WEIGHTS, b""), "is not a readable safetensors file"),
    "empty index": (index_without_files, "must map tensors to files in its weight_map"),
    "no record": (without("denoiser.json"), "must say how its network is used"),
    "broken record": (content("denoiser.json", b""), "denoiser.json is not valid JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder(folder, damage) -> None:
    action, sentence = DAMAGE[damage]
    action(folder)
    refuse(folder, sentence)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "must have a beta_schedule"),
        ({"beta_schedule": "sigmoid"}, "beta_schedule must be one of linear, .*, got 'sigmoid'"),
        ({"beta_schedule": "linear", "prediction_type": "flow"}, "prediction_type must be one of"),
        ({"beta_schedule": "linear", "beta_end": 2.0}, "beta_start and beta_end must be in"),
        ({"beta_schedule": "linear", "num_train_timesteps": 1}, "steps must be a whole number"),
        ({"beta_schedule": ["linear"]}, "beta_schedule must be one of"),
        ({"trained_betas": [0.1, "x"]}, "trained_betas must be a list of numbers"),
    ],
)
def test_a_scheduler_that_cannot_be_translated(folder, settings, sentence) -> None:
    (folder / "denoiser.json").unlink()
    write(folder / "scheduler" / "scheduler_config.json", settings)
    refuse(folder, sentence)


def test_pickled_files_are_never_read(folder, tmp_path) -> None:
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").write_text, ("",))

    (folder / WEIGHTS).unlink()
    for file in (folder / "diffusion_pytorch_model.bin", tmp_path / "model.ckpt"):
        file.write_bytes(pickle.dumps(Bomb()))
    refuse(folder, "pickled code, which is never read")
    refuse(tmp_path / "model.ckpt", "pickled code, which is never read")
    assert not (tmp_path / "exploded").exists()
    (tmp_path / "model.onnx").write_bytes(b"")
    refuse(tmp_path / "model.onnx", "must be a .safetensors file or a folder")


def test_without_diffusers_the_extra_is_named(folder, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(errors.MissingExtra, match=r"vml-fast\[diffusers\]"):
        load_denoiser(folder)
