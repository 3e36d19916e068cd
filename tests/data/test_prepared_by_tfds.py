"""Data sets of the paper that cannot be had here, made by TFDS's own builders.

The files are small and made up, and in the format of the real ones.
"""

import io
import sys
import tarfile
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfp_glow import data

tfds = pytest.importorskip(
    "tensorflow_datasets", reason="these data sets need TensorFlow Datasets"
)


def encoded(size, color, kind="PNG"):
    """The content of a picture file of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def write_tar(file, contents):
    with tarfile.open(file, "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def prepare(name, tmp_path):
    manual = tfds.download.DownloadConfig(manual_dir=str(tmp_path))
    builder = tfds.builder(name, data_dir=str(tmp_path))
    builder.download_and_prepare(download_config=manual)
    return str(tmp_path)


def reds(name, split, **options):
    images, _ = data.load_arrays(name, split, **options)
    assert images.dtype == np.uint8
    assert images.shape[1:] == data.describe(name, **options).event_shape
    return sorted(images[:, 4, 4, 0].tolist())


def test_lsun(tmp_path, monkeypatch):
    # What is read from the LMDB database: keys, and WebP files, as LSUN has them.
    pictures = {
        "train": [encoded((341, 256), (i, 0, 0), "WEBP") for i in range(20)],
        "val": [encoded((256, 300 + i), (100, 0, 0), "WEBP") for i in range(3)],
    }
    for part in pictures:
        file = tmp_path / part / f"tower_{part}_lmdb" / "data.mdb"
        file.parent.mkdir(parents=True)
        file.touch()

    def from_lmdb(path):
        values = pictures["train" if "train" in path else "val"]
        keys = [str(i) for i in range(len(values))]
        return tf.data.Dataset.from_tensor_slices((keys, values))

    tensorflow_io = types.ModuleType("tensorflow_io")
    tensorflow_io.IODataset = types.SimpleNamespace(from_lmdb=from_lmdb)
    monkeypatch.setitem(sys.modules, "tensorflow_io", tensorflow_io)
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download_and_extract",
        lambda self, urls: {part: str(tmp_path / part) for part in urls},
    )
    options = {"data_dir": prepare("lsun/tower", tmp_path), "image_size": 64}
    info = data.describe("lsun/tower", **options, crop="random")
    assert info.num_examples == {"train": 20, "validation": 3}
    found = reds("lsun/tower", "train", **options, crop="random")
    np.testing.assert_allclose(found, range(20), atol=3)  # WebP loses a little
    assert len(reds("lsun/tower", "validation", **options)) == 3


def test_lsun_that_could_not_be_prepared_is_not_downloaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"tensorflow_io.*folder:PATH"):
        data.describe("lsun/tower", data_dir=str(tmp_path), image_size=64)


def test_celeb_a_hq(tmp_path):
    contents = {f"{i}.png": encoded((256, 256), (i, 0, 0)) for i in range(10)}
    write_tar(tmp_path / "data256x256.tar", contents)
    directory = prepare("celeb_a_hq/256", tmp_path)
    info = data.describe("celeb_a_hq/256", data_dir=directory)
    assert info.event_shape == (256, 256, 3)
    assert info.num_examples == {"train": 9, "validation": 1}
    found = reds("celeb_a_hq/256", "train", data_dir=directory)
    found += reds("celeb_a_hq/256", "validation", data_dir=directory)
    assert sorted(found) == list(range(10))


def test_what_is_to_be_fetched_by_hand_says_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="Create it and download") as caught:
        data.describe("celeb_a_hq/256", data_dir=str(tmp_path))
    assert str(tmp_path / "downloads" / "manual") in str(caught.value)


def test_downsampled_imagenet(tmp_path, monkeypatch):
    for part, count in [("train", 20), ("valid", 2)]:
        contents = {
            f"{part}_32x32/{i}.png": encoded((32, 32), (i, 0, 0)) for i in range(count)
        }
        write_tar(tmp_path / f"{part}.tar", contents)
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download",
        lambda self, urls: [
            str(tmp_path / f"{part}.tar") for part in ("train", "valid")
        ],
    )
    name = "downsampled_imagenet/32x32"
    directory = prepare(name, tmp_path)
    info = data.describe(name, data_dir=directory)
    assert info.event_shape == (32, 32, 3)
    assert info.num_examples == {"train": 20, "validation": 2}
    assert "not comparable with image-net.org's resized images" in info.note
    assert reds(name, "train", data_dir=directory) == list(range(20))
