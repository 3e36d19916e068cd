"""How pictures of any size become squares, the same for folders and for TFDS."""

import io
import logging

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfp_glow import data
from tfp_glow.data.squares import to_squares

SIZE = 8


def ramp(width, height):
    """A picture whose red says how far right a pixel is, whose green how far down."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures of 48 x 24, in training all but four of them."""
    for i in range(20):
        ramp(48, 24).save(tmp_path / f"{i}.png")
    return tmp_path


def epochs(folder, count, split="train", **options):
    batches = data.load(
        f"folder:{folder}", split, batch_size=32, image_size=SIZE, **options
    )
    return [next(iter(batches)).numpy().astype(int) for _ in range(count)]


def test_center_is_the_whole_square_in_the_middle(folder):
    (images,) = epochs(folder, 1)
    red, green = images[0, SIZE // 2, :, 0], images[0, :, SIZE // 2, 1]
    expected = 3 * np.arange(SIZE) + 1  # the middle of three pixels
    np.testing.assert_allclose(red, 12 + expected, atol=1)
    np.testing.assert_allclose(green, expected, atol=1)


def test_random_takes_two_thirds_of_the_shorter_side_anywhere(folder):
    images = np.concatenate(epochs(folder, 20, crop="random"))
    assert images.shape == (20 * 16, SIZE, SIZE, 3)
    starts = []
    for channel, axis, length in [(0, 2, 48), (1, 1, 24)]:
        values = images[..., channel].mean(axis=3 - axis)  # [N, SIZE]
        steps = np.diff(values, axis=1).mean()
        assert steps == pytest.approx(2.0, abs=0.05)  # 24 / 1.5 pixels on 8
        start = values[:, 0] - 0.5  # the middle of two pixels
        assert start.min() == pytest.approx(0, abs=1.5)
        assert start.max() == pytest.approx(length - 16, abs=1.5)
        assert start.mean() == pytest.approx((length - 16) / 2, abs=2.5)
        starts.append(start)
    assert abs(np.corrcoef(*starts)[0, 1]) < 0.2


def test_random_crops_repeat_with_their_seed_and_differ_between_epochs(folder):
    options = {"crop": "random"}  # the order stays, so places alone differ
    tf.random.set_seed(0)
    first, second = epochs(folder, 2, seed=3, **options)
    tf.random.set_seed(0)
    again = epochs(folder, 2, seed=3, **options)
    np.testing.assert_array_equal(again, [first, second])
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epochs(folder, 1, seed=4, **options)[0])


def test_held_out_pictures_have_the_middle_of_the_same_scale(folder):
    for split in ("validation", "test"):
        first, second = epochs(folder, 2, split, crop="random")
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(
            first[0, 4, :, 0], 16 + 2 * np.arange(SIZE) + 0.5, atol=1
        )
    note = data.describe(f"folder:{folder}", image_size=64, crop="random").note
    assert "shorter side of 96, of which training takes 64x64 at random" in note


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(tmp_path):
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, [9, 12], np.uint8))
    picture = coarse.resize((96, 72), Image.Resampling.BICUBIC)
    for i in range(3):
        picture.save(tmp_path / f"{i}.jpg", quality=95)
    (image,) = epochs(tmp_path, 1)
    middle = picture.crop((12, 0, 84, 72))
    expected = middle.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    np.testing.assert_allclose(image[0, ..., 0], np.asarray(expected), atol=4)


def test_nothing_from_outside_the_middle_bleeds_in(tmp_path):
    picture = Image.new("RGB", (48, 24), "black")
    picture.paste("white", (12, 0, 36, 24))
    for i in range(3):
        picture.save(tmp_path / f"{i}.png")
    assert epochs(tmp_path, 1)[0].min() == 255


def test_damaged_notes_of_a_camera_are_no_crash(caplog):
    exif = Image.Exif()
    exif[0x0112] = 6  # a rotation
    exif[0x010F] = "maker of the camera"
    buffer = io.BytesIO()
    Image.new("RGB", (20, 10)).save(buffer, "JPEG", exif=exif)
    # Words as the width: Pillow fails with `struct.error`.
    content = buffer.getvalue().replace(b"\x01\x0f", b"\x01\x00")
    examples = tf.data.Dataset.from_tensors({"encoded": content})
    assert not list(to_squares(examples, (SIZE, SIZE, 3)))
    assert "cannot be read and is left out" in caplog.text


def test_content_that_cannot_be_read_is_left_out(caplog, tmp_path):
    file = tmp_path / "1.png"
    ramp(10, 10).save(file)
    encoded = tf.data.Dataset.from_tensor_slices(
        {"encoded": [file.read_bytes(), b"<html>"], "label": [1, 2]}
    )
    with caplog.at_level(logging.WARNING, "tfp_glow"):
        squares = list(to_squares(encoded, (SIZE, SIZE, 3)))
    assert [int(square["label"]) for square in squares] == [1]
    assert "A picture of the data set cannot be read" in caplog.text


def test_one_warning_of_a_picture_however_often_it_comes(caplog, tmp_path):
    for name in ("one", "other"):
        (tmp_path / f"{name}.png").write_text("Dear")
    files = {"file": [str(tmp_path / f"{name}.png") for name in ("one", "other")]}
    contents = {"encoded": [b"<p>", b"<q>"]}
    for examples in (files, contents):
        caplog.clear()
        pictures = tf.data.Dataset.from_tensor_slices(examples)
        squares = to_squares(pictures, (SIZE, SIZE, 3))
        for _ in range(3):
            assert not list(squares)
        assert len(caplog.records) == 2


def test_fractions_cannot_be_read(caplog, tmp_path):
    Image.fromarray(np.full([9, 9], 0.5, np.float32)).save(tmp_path / "half.tiff")
    names = tf.data.Dataset.from_tensors({"file": str(tmp_path / "half.tiff")})
    assert not list(to_squares(names, (SIZE, SIZE, 1)))
    assert "half.tiff cannot be read and is left out: its values are" in caplog.text


def test_says_what_is_wrong(folder):
    name = f"folder:{folder}"
    with pytest.raises(ValueError, match=r"crop='rndom'. Did you mean 'random'"):
        data.describe(name, image_size=8, crop="rndom")
    with pytest.raises(ValueError, match="Random crops need a size"):
        data.describe(name, crop="random")
