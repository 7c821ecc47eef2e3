"""The one function that turns names into devices."""

import pytest
import torch

from vml_fast.devices import find_device
from vml_fast.errors import InputError


@pytest.mark.parametrize("gpus", [0, 2])
def test_names_and_what_they_stand_for(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert find_device(None) == find_device("cpu") == torch.device("cpu")
    assert find_device(torch.device("cpu")) == torch.device("cpu")
    assert find_device("auto").type == ("cuda" if gpus else "cpu")
    for index in range(3):
        name = f"cuda:{index}"
        if index < gpus:
            assert find_device(name) == find_device(torch.device(name)) == torch.device(name)
        else:
            with pytest.raises(InputError, match=f"--device is '{name}', but .* {gpus} CUDA"):
                find_device(name, "--device")


@pytest.mark.parametrize("name", ["tpu", "meta", "mps", "", "cuda:", "cuda:-1", "cpu:x", 3.5])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match=f"device is '{name}'; it must be auto, cpu, cuda"):
        find_device(name)
