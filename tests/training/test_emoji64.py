import numpy as np
import pytest
from PIL import Image

pytest.importorskip("diffusers")

from vml_fast.errors import InputError
from vml_fast.training import emoji64, train
from vml_fast.training.data import load_image_folder
from vml_fast.training.settings import TrainingSettings

TINY = TrainingSettings(
    size=8, steps=1, batch=2, channels=(16,), group_pattern="emoji", heldout_fraction=0.5
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of emoji-named pictures; the package's own folders are replaced by empty ones."""
    monkeypatch.setattr(emoji64, "SETTINGS", TINY)
    monkeypatch.setattr(emoji64, "HELDOUT_IMAGES", tmp_path / "heldout")
    monkeypatch.setattr(emoji64, "PRIORS", tmp_path / "priors")
    monkeypatch.setattr(train, "SAMPLES", 1)
    generator = np.random.default_rng(0)
    folder = tmp_path / "data"
    folder.mkdir()
    for design in ("1f44b", "1f44c", "1f595", "1f596", "1f600", "1f601"):
        for tone in ("", "-1f3fb", "-1f3ff"):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{design}{tone}.png")
    return folder


def test_install_writes_prior_card_and_heldout_images(data, tmp_path):
    folder = load_image_folder(data, 8)
    run = tmp_path / "run"
    train.Trainer(folder, run, TINY, show_progress=False).run()
    emoji64.install(run, data, folder)

    prior = tmp_path / "priors" / "emoji64"
    assert {path.name for path in prior.iterdir()} == {
        "config.json",
        "denoiser.json",
        "diffusion_pytorch_model.safetensors",
        "heldout.txt",
        "README.md",
    }
    names = (prior / "heldout.txt").read_text().split()
    assert 0 < len(names) < 18 and len(names) % 3 == 0  # designs, each with its skin tones
    shipped = {path.name for path in (tmp_path / "heldout").iterdir()}
    assert shipped == {name for name in names if "1f3f" not in name} | {"NOTICE"}
    assert "float16 drift" in (prior / "README.md").read_text("utf-8")
    assert str(tmp_path) not in (prior / "README.md").read_text("utf-8")
    assert str(tmp_path) not in (prior / "config.json").read_text("utf-8")


def test_install_without_a_run_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="init must be a prior that can be read"):
        emoji64.install(tmp_path / "nothing", data, load_image_folder(data, 8))
