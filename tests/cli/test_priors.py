"""What a command knows of the network that an option names."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import run
from vml_fast.cli.priors import weights_digest

RECORDS = Path(__file__).parents[2] / "docs" / "results"
WEIGHTS = "diffusion_pytorch_model.safetensors"


def test_the_embedded_priors_are_those_of_the_published_records():
    record = json.loads((RECORDS / "emoji64" / "results.json").read_text())
    assert weights_digest("emoji64") == record["provenance"]["weights_sha256"]
    cells = [one["cell"]["settings"] for one in record["cells"].values()]
    published = {settings["consistency"] for settings in cells if "consistency" in settings}
    assert {weights_digest("emoji64-consistency")} == published


@pytest.fixture
def training_run(prior, tmp_path):
    """The folder of a training run: its prior, twice, beside a checkpoint."""
    folder = tmp_path / "my-run"
    for name in ("prior", "prior-float16"):
        shutil.copytree(prior, folder / name)
    (folder / "checkpoint.safetensors").write_bytes(b"a step")
    return folder


def test_a_training_run_has_the_digest_of_its_prior(training_run):
    weights = (training_run / "prior" / WEIGHTS).read_bytes()
    digest = hashlib.sha256(weights).hexdigest()[:16]
    assert weights_digest(str(training_run / "prior")) == digest
    assert weights_digest(str(training_run)) == digest
    (training_run / "checkpoint.safetensors").write_bytes(b"a later step")
    assert weights_digest(str(training_run)) == digest


def test_a_training_run_and_its_prior_are_one_comparison(training_run, photos, tmp_path):
    options = ("--tasks", "half", "--methods", "ddrm", "--budgets", "20", "--images", 1,
               "--max-minutes", 0, "--data", photos, "--output", tmp_path / "out")  # fmt: skip
    for given in (training_run, training_run / "prior"):
        result = run("evaluate", *options, "--prior", given)
        assert result.exit_code == 0, result.output
    provenance = json.loads((tmp_path / "out" / "results.json").read_text())["provenance"]
    assert provenance["prior"] == "prior"
