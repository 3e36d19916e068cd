"""Any file becomes an image of the model, or a sentence for who chose it."""

import numpy as np
import pytest
from PIL import Image
from studios import write_black

from tfp_glow.demo import pictures
from tfp_glow.demo.pictures import read_upload

SHAPE = (8, 8, 3)


def saved(tmp_path, picture, name="picture.png", **options):
    file = tmp_path / name
    picture.save(file, **options)
    return file


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_picture_of_the_models_size_is_taken_as_it_is(tmp_path):
    values = noise(8, 8, 3)
    image, note = read_upload(saved(tmp_path, Image.fromarray(values)), SHAPE)
    np.testing.assert_array_equal(image, values)
    assert note == ""


def test_colour_becomes_grey(tmp_path):
    file = saved(tmp_path, Image.new("RGB", (8, 8), (255, 0, 0)))
    image, _ = read_upload(file, (8, 8, 1))
    assert image.shape == (8, 8, 1)
    np.testing.assert_array_equal(image, 76)  # ITU-R 601


def test_takes_the_middle(tmp_path):
    values = np.zeros([10, 30, 3], np.uint8)
    values[:, 10:20] = 200
    image, _ = read_upload(saved(tmp_path, Image.fromarray(values)), SHAPE)
    np.testing.assert_array_equal(image, 200)


def test_pads_pictures_of_the_size_before_padding(tmp_path):
    values = noise(28, 28)
    image, _ = read_upload(saved(tmp_path, Image.fromarray(values)), (32, 32, 1))
    np.testing.assert_array_equal(image[2:30, 2:30, 0], values)
    assert image.sum() == values.sum()


def test_transparency_becomes_white(tmp_path):
    file = saved(tmp_path, Image.new("RGBA", (9, 9), (0, 0, 0, 0)))
    image, note = read_upload(file, SHAPE)
    np.testing.assert_array_equal(image, 255)
    assert "transparent" in note


@pytest.mark.parametrize("name", ["moving.gif", "moving.webp", "moving.png"])
def test_of_a_moving_picture_the_first_frame(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("black", "white")]
    options = {"lossless": True} if name.endswith("webp") else {}
    file = saved(
        tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **options
    )
    image, note = read_upload(file, SHAPE)
    np.testing.assert_array_equal(image, 0)
    assert "first frame" in note


def test_turns_as_the_camera_says(tmp_path):
    values = np.zeros([8, 8, 3], np.uint8)
    values[0] = 255  # the upper edge, which is to be the right one
    exif = Image.Exif()
    exif[0x0112] = 6
    image, _ = read_upload(saved(tmp_path, Image.fromarray(values), exif=exif), SHAPE)
    np.testing.assert_array_equal(image[:, 7], 255)
    np.testing.assert_array_equal(image[:, :7], 0)


def test_16_bits_of_grey_become_8(tmp_path):
    values = np.full([8, 8], 40_000, np.uint16)
    image, _ = read_upload(saved(tmp_path, Image.fromarray(values)), SHAPE)
    np.testing.assert_array_equal(image, 40_000 // 256)


@pytest.mark.parametrize("content", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_no_picture(tmp_path, content):
    file = tmp_path / "picture.png"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"no picture that can be read here.*PNG"):
        read_upload(file, SHAPE)


def test_broken_picture(tmp_path):
    file = saved(tmp_path, Image.fromarray(noise(64, 64, 3)))
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(ValueError, match="no picture that can be read here"):
        read_upload(file, SHAPE)


@pytest.mark.parametrize("side", [8_000, 30_000])  # the latter is too large for Pillow
def test_decompression_bomb(tmp_path, side):
    file = tmp_path / "bomb.png"
    write_black(file, side)
    assert file.stat().st_size < 2_000_000
    with pytest.raises(ValueError, match="at most 50 million pixels"):
        read_upload(file, SHAPE)


def test_huge_file(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 2**20)
    file = tmp_path / "picture.png"
    file.write_bytes(bytes(2**20 + 1))
    with pytest.raises(ValueError, match="at most 1 MB"):
        read_upload(file, SHAPE)
