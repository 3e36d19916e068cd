"""What comes of a data set in an epoch of `tfp-glow train`."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfp_glow import data
from tfp_glow.cli import main
from tfp_glow.cli.parser import make_parser
from tfp_glow.cli.train import _batches, new_run
from tfp_glow.data import squares
from tfp_glow.presets import PRESETS

RAMP = np.broadcast_to(np.arange(1, 9, dtype=np.uint8), [8, 8])  # brighter to the right


def batches(dataset, *options, **changes):
    """Batches as `train` makes them, and how many there are in an epoch."""
    typed = ["train", f"--dataset={dataset}", "--output=run", *options]
    arguments = make_parser().parse_args(typed)
    arguments.crop = arguments.crop or "center"
    source = {"image_size": arguments.image_size, "crop": arguments.crop}
    info = data.describe(arguments.dataset, **source)
    settings = dataclasses.replace(PRESETS["small"], batch_size=8, **changes)
    return _batches(arguments, info, settings, (0, 0))


@pytest.mark.parametrize("max_shift", [0, 1])
@pytest.mark.parametrize("flips", [False, True])
def test_mirrors_and_moves_where_the_preset_says_so(tmp_path, flips, max_shift):
    np.save(tmp_path / "ramps.npy", np.stack([RAMP] * 40))
    options = {"flips": flips, "max_shift": max_shift}
    train, validation, _ = batches(tmp_path / "ramps.npy", **options)
    images = np.concatenate(list(train.take(8).as_numpy_iterator()))[..., 0]
    middle = images[:, 1:-1, 1:-1]  # which nothing is moved into from outside
    is_mirrored = middle[:, 0, 0] > middle[:, 0, -1]
    assert is_mirrored.any() == flips
    assert not is_mirrored.all()
    unmirrored = np.where(is_mirrored[:, None, None], images[:, :, ::-1], images)
    is_moved = (unmirrored != RAMP).any(axis=(1, 2))
    assert is_moved.any() == bool(max_shift)
    assert not is_moved.all()
    for batch in validation.as_numpy_iterator():
        np.testing.assert_array_equal(batch[..., 0], [RAMP] * len(batch))


@pytest.mark.parametrize(
    ("epochs", "momentum"), [(1, 3 / 12), (50, 101 / 110), (500, 0.99), (5000, 0.99)]
)
def test_the_average_remembers_about_a_tenth_of_a_training_at_most(epochs, momentum):
    typed = ["train", "--dataset=digits", "--output=run", "--limit=100"]
    arguments = make_parser().parse_args([*typed, f"--epochs={epochs}"])
    arguments.batch_size = 50  # 2 steps an epoch
    _, settings, _, config = new_run(arguments, tf.distribute.get_strategy())
    assert settings.ema_momentum == pytest.approx(momentum)
    assert config["training"]["ema_momentum"] == settings.ema_momentum


def test_the_side_of_pictures_is_told_of_as_it_was_typed(tmp_path, capsys):
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    Image.new("L", (9, 8)).save(tmp_path / "b.png")
    Image.new("L", (8, 8)).save(tmp_path / "c.png")
    typed = ["train", f"--dataset=folder:{tmp_path}", f"--output={tmp_path / 'run'}"]
    assert main([*typed, "--image-size=30"]) == 1
    message = capsys.readouterr().err
    assert "whose side 8 divides. Received: --image-size 30" in message
    assert "such as 32, or fewer --num-levels" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("crop", ["center", "random"])
def test_pictures_are_decoded_once_unless_cut_at_random(tmp_path, monkeypatch, crop):
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 256, [12, 20, 3], np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    read, decoded = squares._read, []

    def note_and_read(picture: bytes, *args, **options) -> np.ndarray:
        decoded.append(picture)
        return read(picture, *args, **options)

    monkeypatch.setattr(squares, "_read", note_and_read)
    options = ["--image-size=8", f"--crop={crop}"]
    train, validation, num_batches = batches(f"folder:{tmp_path}", *options)
    for _ in train.take(3 * num_batches):
        pass
    for _ in range(3):
        assert len(list(validation)) == 1
    counts = sorted(decoded.count(picture) for picture in {*decoded})
    assert len(counts) == 18  # The test pictures are not needed here.
    assert counts[:2] == [1, 1]  # those of validation
    assert (counts[2:] == [1] * 16) == (crop == "center")
