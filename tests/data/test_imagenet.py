"""`imagenet_npz:PATH`: small files in the format of image-net.org's."""

import numpy as np
import pytest

from tfp_glow import data
from tfp_glow.data import imagenet

SIZE = 8


def write(folder, name, first, count, **changes):
    """A batch as it is in the archives: channels first, labels from 1."""
    labels = 1 + first + np.arange(count)
    rng = np.random.default_rng(first)
    rows = rng.integers(0, 256, [count, 3, SIZE, SIZE], np.uint8)
    rows[:, 0, 0, 1] = labels  # red of the pixel right of the corner
    arrays = {"data": rows.reshape(count, -1), "labels": labels.tolist()}
    np.savez(folder / name, **(arrays | changes))
    return rows


@pytest.fixture
def folder(tmp_path):
    for number in range(1, 11):  # validation begins in the middle of the last one
        count = 20 if number == 10 else 10
        write(tmp_path, f"train_data_batch_{number}.npz", 10 * (number - 1), count)
    write(tmp_path, "val_data.npz", 200, 7)
    return tmp_path


def test_describes_itself(folder):
    info = data.describe(f"imagenet_npz:{folder}")
    assert info.name == f"imagenet_npz:{folder}"
    assert info.event_shape == (SIZE, SIZE, 3)
    assert info.num_classes == 1000
    assert info.num_examples == {"train": 99, "validation": 11, "test": 7}
    assert "not comparable with downsampled_imagenet" in info.note


@pytest.mark.parametrize("num_read", [3, 256])
def test_gives_images_and_labels_from_0_in_the_order_of_the_files(
    folder, monkeypatch, num_read
):
    monkeypatch.setattr(imagenet, "_NUM_READ", num_read)
    expected = {"train": range(99), "validation": range(99, 110)}
    for split, labels in (expected | {"test": range(200, 207)}).items():
        images, found = data.load_arrays(f"imagenet_npz:{folder}", split)
        assert found.tolist() == list(labels)
        np.testing.assert_array_equal(images[:, 0, 1, 0], 1 + found)
        assert len(data.load(f"imagenet_npz:{folder}", split)) == len(labels)
    rows = np.load(folder / "val_data.npz")["data"].reshape(-1, 3, SIZE, SIZE)
    np.testing.assert_array_equal(images, rows.transpose(0, 2, 3, 1))


def test_says_what_is_missing(tmp_path):
    (tmp_path / "train_data_batch_1").write_bytes(b"a pickle")
    with pytest.raises(FileNotFoundError, match=r"Imagenet32_train_npz.zip.*pickles"):
        data.describe(f"imagenet_npz:{tmp_path}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.arange(7)}, "label from 1 to 1000.*from 0 to 6"),
        ({"labels": np.arange(7) + 999}, "label from 1 to 1000.*999 to 1005"),
        ({"labels": np.arange(3) + 1}, "each of 7 images.*Received: 3"),
        ({"data": np.zeros([7, 100], np.uint8)}, r"3 x size x size.*\[7, 100\]"),
        ({"data": np.zeros([7, 192])}, "must be uint8.*float64"),
        ({"data": np.zeros([7, 768], np.uint8)}, r"one size.*\[8, 16\]"),
        ({"labels": np.array([None] * 7)}, "cannot be read"),
    ],
)
def test_says_what_is_wrong(folder, changes, message):
    write(folder, "val_data.npz", 200, 7, **changes)
    with pytest.raises(ValueError, match=message):
        data.describe(f"imagenet_npz:{folder}")


def test_a_file_that_was_cut_short(folder):
    file = folder / "train_data_batch_3.npz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"batch_3.npz.*was cut short"):
        data.describe(f"imagenet_npz:{folder}")
