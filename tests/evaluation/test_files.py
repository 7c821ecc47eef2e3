"""Which files are inputs, and writing in one piece."""

import json
import os

import pytest

from vml_fast.errors import InputError
from vml_fast.evaluation import files


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_folders_are_sorted_and_flat(tmp_path):
    _touch(tmp_path, "b.png", "a.JPG", "c.npy", "notes.txt", ".hidden.png", "deeper/d.png")
    _touch(tmp_path, "first.webp")
    found = files.find_inputs([tmp_path / "first.webp", tmp_path / "deeper"])
    assert [path.name for path in found] == ["first.webp", "d.png"]
    found = files.find_inputs([tmp_path])
    assert [path.name for path in found] == ["a.JPG", "b.png", "c.npy", "first.webp"]


@pytest.mark.parametrize(
    "names", [("x.png", "x.npy"), ("x.png", "X.png"), ("x.png", "other/x.png")]
)
def test_equal_stems_are_an_error_that_names_both(tmp_path, names):
    _touch(tmp_path, *names)
    with pytest.raises(InputError) as caught:
        files.find_inputs([tmp_path / name for name in names])
    assert all(str(tmp_path / name) in str(caught.value) for name in names)


def test_writing_replaces_in_one_piece(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    seen = []

    def fail(file):
        file.write(b"half")
        seen.append(sorted(os.listdir(tmp_path)))
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"x\.json: No space left on device"):
        files.write_whole(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["x.json"]
    assert len(seen[0]) == 2
    assert seen[0][0].startswith(".part-")


def test_interrupted_writing_leaves_nothing(tmp_path):
    def interrupt(file):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_whole(tmp_path / "x", interrupt)
    assert os.listdir(tmp_path) == []


def test_written_files_are_readable_by_others_as_the_umask_says(tmp_path):
    files.write_json(tmp_path / "x.json", 1)
    (tmp_path / "y").write_text("")
    assert (tmp_path / "x.json").stat().st_mode == (tmp_path / "y").stat().st_mode


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert os.listdir(tmp_path) == []


def test_what_json_has_no_number_for_is_null():
    nested = {"a": [1.0, float("inf"), (float("nan"), "x")], "b": None, "c": 2}
    assert files.as_json(nested) == {"a": [1.0, None, [None, "x"]], "b": None, "c": 2}


def test_asking_whether_a_folder_is_writable_leaves_no_trace(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    files.check_writable(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_file_is_no_folder(tmp_path):
    _touch(tmp_path, "x")
    for folder in (tmp_path / "x", tmp_path / "x" / "y"):
        with pytest.raises(InputError, match="output"):
            files.check_writable(folder)
    assert os.listdir(tmp_path) == ["x"]
