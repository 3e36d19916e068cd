"""`folder:PATH`: anybody's pictures."""

import logging
import os
import threading

import numpy as np
import pytest
from PIL import Image

from tfp_glow import data

SIZE = 8


def save(folder, name, *, color=(200, 40, 90), size=(20, 12), **options):
    """A picture of one colour."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(color)]
    Image.new(mode, size, color if len(color) > 1 else color[0]).save(file, **options)
    return file


def describe(folder, image_size=SIZE):
    return data.describe(f"folder:{folder}", image_size=image_size)


def arrays(folder, split, image_size=SIZE):
    return data.load_arrays(f"folder:{folder}", split, image_size=image_size)


def everything(folder):
    splits = [arrays(folder, split) for split in describe(folder).num_examples]
    return np.concatenate([images for images, _ in splits])


@pytest.mark.parametrize(
    ("suffix", "options"),
    [("png", {}), ("jpg", {"quality": 95}), ("webp", {"lossless": True}), ("bmp", {})],
)
def test_reads_formats_in_nested_folders_and_resizes_the_middle(
    tmp_path, suffix, options
):
    for i in range(4):
        file = save(tmp_path, f"a/b/{i}.{suffix}", size=(30, 10), **options)
        with Image.open(file) as image:  # what is not in the middle is black
            image.load()
            image.paste((0, 0, 0), (0, 0, 10, 10))
            image.paste((0, 0, 0), (20, 0, 30, 10))
            image.save(file, **options)
    images = everything(tmp_path)
    assert images.shape == (4, SIZE, SIZE, 3)
    assert images.dtype == np.uint8
    inside = images[:, :, 1:-1].astype(int)  # JPEG blurs the edges
    assert np.abs(inside - [200, 40, 90]).max() <= 12


def test_a_tenth_each_is_held_out_and_stays_so(tmp_path):
    for i in range(40):
        save(tmp_path, f"{i}.png", color=(i, 0, 0))
    assert describe(tmp_path).num_examples == {"train": 32, "validation": 4, "test": 4}
    before = {s: set(arrays(tmp_path, s)[0][:, 0, 0, 0]) for s in ("train", "test")}
    everything_once = everything(tmp_path)[:, 0, 0, 0]
    assert sorted(everything_once) == list(range(40))
    assert before["train"].isdisjoint(before["test"])
    again = set(arrays(tmp_path, "test")[0][:, 0, 0, 0])
    assert again == before["test"]


def test_folders_are_splits_and_classes(tmp_path):
    for split, red in [("train", 10), ("val", 20), ("test", 30)]:
        for name, green in [("cat", 1), ("dog", 2)]:
            save(tmp_path, f"{split}/{name}/1.png", color=(red, green, 0))
    info = describe(tmp_path)
    assert info.num_examples == {"train": 2, "validation": 2, "test": 2}
    assert info.num_classes == 2
    assert "classes are 0 cat, 1 dog" in info.note
    for split, red in [("train", 10), ("validation", 20), ("test", 30)]:
        images, labels = arrays(tmp_path, split)
        assert set(images[..., 0].flat) == {red}
        np.testing.assert_array_equal(images[:, 0, 0, 1] - 1, labels)
    loaded = data.load(
        f"folder:{tmp_path}", "train", batch_size=2, with_labels=True, image_size=SIZE
    )
    images, labels = next(iter(loaded))
    assert images.shape == (2, SIZE, SIZE, 3)
    np.testing.assert_array_equal(labels, images[:, 0, 0, 1] - 1)


def test_classes_are_mixed_from_the_first_picture_on(tmp_path):
    for name in ("cat", "dog"):
        for i in range(50):
            save(tmp_path, f"{name}/{i}.png")
    images, labels = data.load_arrays(
        f"folder:{tmp_path}", "train", limit=20, image_size=SIZE
    )
    assert len(images) == 20
    assert 4 <= labels.sum() <= 16


@pytest.mark.parametrize("there", [["train"], ["train", "test"]])
def test_validation_is_part_of_train_where_there_is_none(tmp_path, there):
    for split in there:
        for i in range(10):
            save(tmp_path, f"{split}/{i}.png")
    expected = {"train": 9, "validation": 1}
    expected |= {"test": 10} if "test" in there else {}
    assert describe(tmp_path).num_examples == expected


def test_what_lies_beside_splits_is_left_out(tmp_path, caplog):
    for split in ("train", "test"):
        for i in range(10):
            save(tmp_path, f"{split}/{i}.png")
    save(tmp_path, "cover.png", size=(9, 9))
    save(tmp_path, "extra/0.png")
    save(tmp_path, ".hidden/0.png")
    save(tmp_path, "train/.hidden/0.png")
    info = describe(tmp_path)
    assert info.num_examples == {"train": 9, "validation": 1, "test": 10}
    assert info.num_classes is None
    (record,) = caplog.records
    message = record.getMessage()
    assert "2 pictures elsewhere are left out" in message
    assert "cover.png" in message
    assert "extra/0.png" in message


def test_train_may_be_a_class(tmp_path, caplog):
    for name in ("train", "plane"):
        for i in range(10):
            save(tmp_path, f"{name}/{i}.png")
    assert describe(tmp_path).class_names == ("plane", "train")
    assert not caplog.records


def test_folders_to_be_held_out_without_train_are_told_of(tmp_path, caplog):
    for name in ("cat", "dog", "Test", "val"):
        for i in range(3):
            save(tmp_path, f"{name}/{i}.png")
    assert describe(tmp_path).class_names == ("Test", "cat", "dog", "val")
    (record,) = caplog.records
    message = record.getMessage()
    assert f"{tmp_path} has no folder train" in message
    assert "the pictures in ['Test', 'val'] are taken like all others" in message


def test_links_to_folders_are_followed_but_to_none_twice(tmp_path, caplog):
    for i in range(6):
        save(tmp_path, f"elsewhere/{i}.png")
        save(tmp_path, f"pictures/cat/{i}.png")
    (tmp_path / "pictures" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "up").symlink_to(tmp_path / "pictures")
    (tmp_path / "pictures" / "feline").symlink_to(tmp_path / "pictures" / "cat")
    (tmp_path / "pictures" / "hound").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures" / "self").symlink_to(tmp_path / "pictures" / "self")
    info = describe(tmp_path / "pictures")
    assert info.class_names == ("cat", "dog")
    assert sum(info.num_examples.values()) == 12
    told = " ".join(record.getMessage() for record in caplog.records)
    for name in ("feline", "hound", "up"):
        assert f"{name} leads to a folder that is looked at already" in told


def test_names_need_not_be_unicode(tmp_path):
    for i in range(3):
        file = save(tmp_path, f"{i}.png", color=(i, 0, 0))
        file.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9%d.png" % i))
    assert sorted(everything(tmp_path)[:, 0, 0, 0]) == [0, 1, 2]


def test_looks_again_at_each_time(tmp_path):
    with pytest.raises(FileNotFoundError):
        describe(tmp_path)
    for i in range(3):
        save(tmp_path, f"{i}.png")
    assert describe(tmp_path).num_examples["train"] == 1


def test_a_split_of_broken_pictures_is_an_error(tmp_path):
    for split in ("train", "val", "test"):
        save(tmp_path, f"{split}/1.png", size=(64, 64))
    broken = tmp_path / "test" / "1.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(ValueError, match="no test image that can be read"):
        arrays(tmp_path, "test")


def test_grey_stays_grey_unless_there_is_colour(tmp_path):
    for i in range(3):
        save(tmp_path, f"{i}.png", color=(50 + i,))
    assert describe(tmp_path).event_shape == (SIZE, SIZE, 1)
    assert describe(tmp_path).num_classes is None
    assert "are grey" not in describe(tmp_path).note
    save(tmp_path, "colour/3.png", color=(1, 2, 3))
    assert describe(tmp_path).event_shape == (SIZE, SIZE, 3)
    assert "3 of them are grey, and taken for colour" in describe(tmp_path).note
    pixels = {tuple(image[0, 0]) for image in everything(tmp_path)}
    assert pixels == {(50, 50, 50), (51, 51, 51), (52, 52, 52), (1, 2, 3)}


def test_transparent_is_white_and_16_bits_are_8(tmp_path):
    for i in range(3):
        save(tmp_path, f"{i}.png", color=(9, 9, 9, 0))
    assert set(everything(tmp_path).flat) == {255}
    deep = tmp_path / "deep"
    for i in range(3):
        file = save(deep, f"{i}.png", color=(0,))
        Image.fromarray(np.full([9, 9], 1000, np.uint16)).save(file)
    assert set(everything(deep).flat) == {1000 // 256}
    big_endian = tmp_path / "big_endian"
    big_endian.mkdir()
    for i in range(3):
        image = Image.fromarray(np.full([9, 9], 1000, ">u2"))
        image.save(big_endian / f"{i}.tiff")
    assert describe(big_endian).event_shape == (SIZE, SIZE, 1)
    assert set(everything(big_endian).flat) == {1000 // 256}


@pytest.mark.parametrize(("highest", "expected"), [(255, 200), (256, 0)])
def test_32_bits_that_hold_8_stay_as_they_are(tmp_path, highest, expected):
    values = np.full([SIZE, SIZE], 200, np.int32)
    values[0, 0] = highest
    for i in range(3):
        Image.fromarray(values).save(tmp_path / f"{i}.tiff")
    assert everything(tmp_path)[0, -1, -1, 0] == expected


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="has no pipes with names")
def test_what_is_no_regular_file_is_left_out(tmp_path, caplog):
    elsewhere = save(tmp_path, "elsewhere/1.png")
    folder = tmp_path / "pictures"
    for i in range(3):
        save(folder, f"{i}.png")
    (folder / "linked.png").symlink_to(elsewhere)
    pipe = folder / "pipe.png"
    os.mkfifo(pipe)
    (folder / "pipe_too.png").symlink_to(pipe)
    ends_waiting = threading.Timer(5, lambda: pipe.write_bytes(b""))
    ends_waiting.start()
    assert sum(describe(folder).num_examples.values()) == 4
    assert ends_waiting.is_alive()  # It was not waited for.
    ends_waiting.cancel()
    assert "2 of 6 pictures cannot be read and are left out" in caplog.text


def test_rotates_as_the_camera_says(tmp_path):
    for i in range(3):
        image = Image.new("RGB", (8, 8))
        image.paste((255, 255, 255), (0, 0, 4, 8))  # the left half
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter, clockwise
        image.save(tmp_path / f"{i}.png", exif=exif)
    image = everything(tmp_path)[0]
    assert image[:3].min() == 255
    assert image[-3:].max() == 0


def test_what_is_broken_is_left_out_and_named(tmp_path, caplog):
    for i in range(20):
        save(tmp_path, f"{i}.png", color=(i, 0, 0), size=(64, 64))
    (tmp_path / "no_picture.jpg").write_bytes(b"<html>")
    (tmp_path / "empty.png").write_bytes(b"")
    cut = tmp_path / "7.png"
    noise = np.random.default_rng(0).integers(0, 255, [64, 64, 3], np.uint8)
    Image.fromarray(noise).save(cut)
    cut.write_bytes(cut.read_bytes()[:2000])  # its beginning is well
    with caplog.at_level(logging.WARNING, "tfp_glow"):
        images = everything(tmp_path)
    assert sorted(images[:, 0, 0, 0]) == [i for i in range(20) if i != 7]
    assert "2 of 22 pictures cannot be read and are left out" in caplog.text
    assert "no_picture.jpg" in caplog.text
    assert "7.png cannot be read and is left out" in caplog.text


def test_pictures_of_one_good_size_need_no_size(tmp_path):
    for i in range(3):
        save(tmp_path, f"{i}.png", size=(16, 16))
    assert describe(tmp_path, image_size=None).event_shape == (16, 16, 3)
    save(tmp_path, "large/3.png", size=(40, 30))
    with pytest.raises(ValueError, match=r"--image-size.*16x16 to 40x30"):
        describe(tmp_path, image_size=None)
    note = describe(tmp_path, image_size=32).note
    assert "4 of them were smaller" in note


def test_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="needs the path of a folder"):
        data.describe("folder:")
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        describe(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="no picture .* that can be read"):
        describe(tmp_path)
    save(tmp_path, "1.png")
    with pytest.raises(ValueError, match=r"at least 3 pictures.*Received: 1"):
        describe(tmp_path)
    with pytest.raises(
        ValueError, match=r"`image_size` .*and `crop`.*of .digits. have one"
    ):
        data.describe("digits", image_size=16)
    for split in ("train", "val"):
        save(tmp_path, f"split/{split}/1.png")
    with pytest.raises(ValueError, match=r"no test pictures.*'train', 'validation'"):
        arrays(tmp_path / "split", "test")
