"""deepinv is left out where it is not installed; where it is and breaks, that is an error."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.peers import deepinv_import
from tests.peers.deepinv_import import deepinv_or_skip, import_deepinv


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose packages hide the installed ones; later tests meet the installed ones."""
    for name in [n for n in sys.modules if n.partition(".")[0] in ("deepinv", "torchvision")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def install(folder: Path, name: str, code: str) -> None:
    (folder / f"{name}.py").write_text(code)
    importlib.invalidate_caches()


def forget() -> None:
    for name in ("deepinv", "torchvision"):
        sys.modules.pop(name, None)


def test_a_missing_one_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(pytest.skip.Exception, match="make test-peers"):
        deepinv_or_skip()


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError", "AttributeError"])
def test_a_broken_one_is_an_error(packages: Path, error: str) -> None:
    install(packages, "torchvision", "")
    install(packages, "deepinv", f"raise {error}('no such luck')")
    with pytest.raises(Exception, match="no such luck") as caught:
        deepinv_or_skip()
    assert caught.typename == error


def test_another_fault_of_torchvision_is_an_error(packages: Path) -> None:
    install(packages, "torchvision", "raise RuntimeError('compiled for another CUDA')")
    with pytest.raises(RuntimeError, match="another CUDA"):
        import_deepinv()


def test_names_are_defined_where_they_are_missing_and_only_there(
    packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an operation of another name, so that the real ones are left alone."""
    describe = "import torch\ntorch.library.register_fake('torchvision::unheard_of', lambda d: d)\n"
    install(packages, "torchvision", describe)
    install(packages, "deepinv", "import torchvision")
    monkeypatch.setattr(deepinv_import, "NAMES", ("unheard_of",))
    with torch.library._scoped_library("torchvision", "FRAGMENT") as fragment:
        monkeypatch.setattr(torch.library, "Library", lambda *_: fragment)
        import_deepinv()
        assert torch.ops.torchvision.unheard_of
        forget()
        monkeypatch.setattr(deepinv_import, "_define_names", lambda: pytest.fail("again"))
        import_deepinv()
