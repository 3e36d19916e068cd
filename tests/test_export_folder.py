"""An export says at once where it cannot write, and leaves nothing where it fails."""

from pathlib import Path

import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow import export


@pytest.fixture(scope="module")
def model():
    return tfg.GlowModel((4, 4, 1), num_levels=1, num_steps=1, hidden_channels=4)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with a file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("directory", "kind", "message"),
    [
        ("file", FileExistsError, "'file'"),
        ("file/x", NotADirectoryError, "'file/x'"),
        (Path("new") / ("a" * 300), OSError, "File name too long"),
        ("", ValueError, "must be the name of a folder.* Received: directory=''"),
        (None, TypeError, "PathLike.*NoneType"),
    ],
)
def test_impossible_places(model, here, monkeypatch, directory, kind, message):
    monkeypatch.setattr(export, "_served_functions", None)  # not to be called
    with pytest.raises(kind, match=message):
        model.export(directory)
    assert [path.name for path in here.iterdir()] == ["file"]


def test_a_failure_leaves_no_empty_folder(model, here, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("not to be written to")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    (here / "old").mkdir()
    for directory in ("old", "old/a", "new/a/b"):
        with pytest.raises(OSError, match="not to be written to"):
            model.export(directory)
    assert sorted(path.name for path in here.rglob("*")) == ["file", "old"]


def test_folders_are_made(model, here):
    model.export("new/a")
    model.export("new/a")  # over the old one
    assert (here / "new" / "a" / "saved_model.pb").is_file()


def test_other_file_systems_are_tensorflow_s(model, here):
    model.export("ram://exports/a")
    assert tf.io.gfile.exists("ram://exports/a/saved_model.pb")
    assert [path.name for path in here.iterdir()] == ["file"]
