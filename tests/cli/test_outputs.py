"""What the files of a command are called, and what becomes of them on a full disk."""

import os
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_run import make_run

from tfp_glow import data
from tfp_glow.cli import export as export_command
from tfp_glow.cli import main, results
from tfp_glow.cli.picture_input import load_picture
from tfp_glow.cli.run_folder import load_run
from tfp_glow.cli.strip import strip_name


@pytest.fixture(scope="module")
def folder(tmp_path_factory, models_loaded_once):
    return make_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(folder):
    """A run folder, which is as before when the test ends."""
    yield folder
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.keras"):
            file.unlink()


def error(capsys, *arguments) -> str:
    assert main(list(map(str, arguments))) == 1
    return capsys.readouterr().err


def save_picture(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    image = data.load_arrays("digits", "test", limit=1)[0][0]
    Image.fromarray(image[..., 0]).save(file)
    return file


def test_other_numbers_of_samples_are_other_files(run):
    sample = ["sample", str(run)]
    assert main(sample) == 0
    assert main([*sample, "--num-samples=4"]) == 0
    assert len(np.load(run / "samples-t0.7-seed0.npy")) == 64
    assert len(np.load(run / "samples-t0.7-seed0-num4.npy")) == 4


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "a.png"),
        ({"split": "train"}, "a-train.png"),
        ({"dataset": "folder:/my/cats"}, "a-folder:-my-cats.png"),
        ({"dataset": "mnist", "split": "test", "steps": 3}, "a-steps3-mnist-test.png"),
    ],
)
def test_strips_of_other_images_are_other_files(changes, expected):
    options = {"steps": 9, "levels": None, "label": None}
    options |= {"dataset": None, "split": None, **changes}
    assert strip_name("a", Namespace(**options)) == expected


def test_strips_of_other_directions_are_other_files(tmp_path):
    options = {"steps": 9, "levels": None, "label": None, "dataset": None}
    options |= {"split": None, "strength": 1.0}
    names = {
        strip_name("a", Namespace(**options, attributes=file))
        for file in (None, tmp_path / "a" / "x.npz", tmp_path / "b" / "x.npz")
    }
    assert len(names) == 3


def test_pictures_of_the_same_stem_have_names_of_their_own(run, tmp_path, monkeypatch):
    files = [save_picture(tmp_path / f) for f in ("a/0.png", "3/0.png", "3/0.gif")]
    loaded = load_run(run)
    pictures = [load_picture(str(f), loaded, Namespace(label=None)) for f in files]
    assert [picture.name for picture in pictures] == ["0", "0", "0"]
    names = {picture.name_in_files for picture in pictures}
    assert len(names) == 3
    assert all(name.startswith("0_") for name in names)
    # The same from anywhere.
    monkeypatch.chdir(tmp_path / "a")
    again = load_picture("0.png", loaded, Namespace(label=None))
    assert again.name_in_files == pictures[0].name_in_files


def test_long_names_are_cut(run, tmp_path, capsys):
    names = ("a" * 130, "é" * 120)
    first, last = (save_picture(tmp_path / f"{name}.png") for name in names)
    strips = set()
    for split in ("train", "test" * 50):
        options = {"steps": 9, "levels": None, "label": "x" * 50, "dataset": "é" * 130}
        strips.add(strip_name("a", Namespace(**options, split=split)))
    assert len(strips) == 2
    assert max(len(os.fsencode(name)) for name in strips) < 200
    assert main(["interpolate", str(run), str(first), str(last), "--steps=2"]) == 0
    png = Path(capsys.readouterr().out.strip())
    assert png.exists()
    assert len(os.fsencode(png.name)) < 200


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("suffix", [".png", ".npy", ".gif", ".mp4", ".npz"])
def test_a_full_disk_leaves_the_file_before(run, tmp_path, capsys, suffix):
    file = tmp_path / f"shown{suffix}"
    file.write_bytes(b"before")
    (tmp_path / f".partial-{file.name}").symlink_to("/dev/full")
    command = {
        ".npy": ["sample", run, "--num-samples=2"],
        ".npz": ["attributes", run, "--split=test"],
    }.get(suffix, ["interpolate", run, 0, 1, "--steps=2", "--gif"])
    if suffix == ".mp4":
        pytest.importorskip("av")
        command.append("--mp4")
    output = f"--output={tmp_path / 'shown.png'}"
    message = error(capsys, *command, output, "--overwrite")
    assert f"{file} cannot be written: No space left on device. Make room" in message
    assert "--output" in message
    assert file.read_bytes() == b"before"
    assert not list(tmp_path.glob(".partial-*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_leaves_the_samples_of_a_training(run, tmp_path):
    file = tmp_path / "samples.png"
    file.write_bytes(b"before")
    (tmp_path / ".partial-samples.png").symlink_to("/dev/full")
    images, _ = data.load_arrays("digits", "test", limit=25)
    with pytest.raises(OSError, match="No space left on device: .*samples.png"):
        results._save_samples(load_run(run).model, images, file)
    assert file.read_bytes() == b"before"


def test_a_slash_at_the_end_names_a_folder(run, tmp_path):
    sample = ["sample", str(run), "--num-samples=2"]
    for folder in (tmp_path / "new", tmp_path / "new.png"):
        for _ in range(2):  # The second time it is there.
            assert main([*sample, f"--output={folder}/", "--overwrite"]) == 0
        names = sorted(file.name for file in folder.iterdir())
        assert names == [f"samples-t0.7-seed0-num2.{x}" for x in ("npy", "png")]


def test_an_output_below_a_file(run, tmp_path, capsys):
    (tmp_path / "letter").write_text("Dear")
    sample = ["sample", run, f"--output={tmp_path / 'letter' / 'deep' / 'a.png'}"]
    message = error(capsys, *sample)
    assert f"{tmp_path / 'letter'} is a file. Name a file in another" in message


def test_a_folder_that_cannot_be_written_is_told_first(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    message = error(capsys, "sample", run, f"--output={tmp_path / 'a' / 'b.png'}")
    assert f"no permission to write to {tmp_path}. Name a file in another" in message
    monkeypatch.delattr(export_command, "load_run")  # It takes seconds.
    message = error(capsys, "export", run, tmp_path / "models")
    assert f"no permission to write to {tmp_path}. Name another folder" in message
    assert not list(tmp_path.iterdir())
