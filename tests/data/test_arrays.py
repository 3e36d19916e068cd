"""`.npy` and `.npz` files of anybody's images."""

import numpy as np
import pytest

from tfp_glow import data

COUNT = 40


def images(count=COUNT, shape=(8, 8, 3), first=0):
    """Each has its number as its values."""
    numbers = first + np.arange(count, dtype=np.uint8)
    return np.ones([count, *shape], np.uint8) * numbers.reshape(-1, *[1] * len(shape))


def numbers(name, split):
    loaded, labels = data.load_arrays(str(name), split)
    return loaded[:, 4, 4, 0].tolist(), labels


def test_npy_is_mapped_and_split_at_random(tmp_path):
    file = tmp_path / "images.npy"
    np.save(file, images())
    info = data.describe(str(file))
    assert info.event_shape == (8, 8, 3)
    assert info.num_classes is None
    assert info.num_examples == {"train": 32, "validation": 4, "test": 4}
    found = {split: numbers(file, split)[0] for split in info.num_examples}
    assert sorted(sum(found.values(), [])) == list(range(COUNT))
    assert found["test"] != sorted(found["test"])
    assert numbers(file, "test")[0] == found["test"]
    source = data.arrays.ArrayDataset(file)
    mapped, _ = source._parts["train"]
    assert isinstance(mapped, np.memmap)


def test_npz_with_labels(tmp_path, monkeypatch):
    file = tmp_path / "arrays.npz"
    np.savez(file, images=images(), labels=np.arange(COUNT) // 4, other=[1])
    monkeypatch.chdir(tmp_path)
    info = data.describe("arrays.npz")
    assert info.name == str(file)
    assert info.num_classes == 10
    for split in info.num_examples:
        found, labels = numbers("arrays.npz", split)
        assert labels.dtype == np.int32
        np.testing.assert_array_equal(np.array(found) // 4, labels)


def test_npz_as_keras_has_them(tmp_path):
    file = tmp_path / "mnist.npz"
    np.savez(
        file,
        x_train=images(shape=(28, 28)),
        y_train=np.arange(COUNT, dtype=np.uint8).reshape(-1, 1),
        x_test=images(5, (28, 28), first=100),
        y_test=np.arange(5),
    )
    info = data.describe(str(file))
    assert info.event_shape == (32, 32, 1)
    assert info.note == "28x28 images padded to 32x32 with zeros"
    assert info.num_examples == {"train": 36, "validation": 4, "test": 5}
    assert info.num_classes == COUNT
    test, labels = data.load_arrays(str(file), "test")
    np.testing.assert_array_equal(test[:, 2:30, 2:30, 0].std(axis=(1, 2)), 0)
    np.testing.assert_array_equal(test[:, 16, 16, 0], 100 + labels)
    assert test[:, :2].max() == test[:, :, 30:].max() == 0
    found = numbers(file, "train")[0] + numbers(file, "validation")[0]
    assert sorted(found) == list(range(COUNT))


def test_a_file_that_changes_is_read_again(tmp_path):
    file = tmp_path / "images.npz"
    np.savez(file, images=images(10))
    assert data.describe(str(file)).num_examples["train"] == 8
    np.savez(file, images=images(20))
    assert data.describe(str(file)).num_examples["train"] == 16


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": images() / 255}, r"uint8.*np.round\(255 \* images\).*float64"),
        ({"images": images().astype(np.int64)}, r"uint8.*astype\(np.uint8\).*int64"),
        ({"images": images(shape=(3, 8, 8))}, r"transpose\(0, 2, 3, 1\).*\(40, 3, 8"),
        ({"images": images(shape=(8,))}, r"height, width.*\(40, 8\)"),
        ({"images": images(2)}, "at least 3 images.*Received: 2"),
        ({"pictures": images()}, r"must hold `images`.*\['pictures'\]"),
        ({"images": images(), "labels": np.arange(3)}, r"each of 40 images.*\(3,\)"),
        ({"images": images(), "labels": np.eye(COUNT)}, r"argmax\(-1\)"),
        ({"images": images(), "labels": np.arange(COUNT) - 1}, r"from 0 on.*-1 to 38"),
        ({"images": images(), "labels": np.arange(COUNT) + 1}, r"from 0 on.*1 to 40"),
        ({"images": np.array([None, 1])}, "no file of plain NumPy arrays"),
        ({"x_train": images(), "x_test": images(5, (8, 8))}, "must have one shape"),
        (
            {"x_train": images(), "x_test": images(5), "y_test": np.arange(5)},
            "or of neither",
        ),
    ],
)
def test_says_what_is_wrong(tmp_path, arrays, message):
    file = tmp_path / "arrays.npz"
    np.savez(file, **arrays)
    with pytest.raises(ValueError, match=message):
        data.describe(str(file))


def test_says_what_is_wrong_with_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*missing.npz"):
        data.describe(str(tmp_path / "missing.npz"))
    file = tmp_path / "cut.npz"
    np.savez(file, images=images())
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="no file of plain NumPy arrays"):
        data.describe(str(file))
    file.write_bytes(b"no arrays")
    with pytest.raises(ValueError, match="read: it is damaged, or holds Python"):
        data.describe(str(file))
    np.savez(file, images=images())
    with pytest.raises(ValueError, match=r"`image_size`.*have one.*image_size=8"):
        data.describe(str(file), image_size=8)
    with pytest.raises(FileNotFoundError, match="named without `folder:`"):
        data.describe(f"folder:{file}")
