"""PNG and JPEG in and out of a request."""

import base64
import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("kserve", reason="needs the extra serve")

from tfp_glow.serving.pictures import from_base64, to_base64
from tfp_glow.serving.refused import Refused
from tfp_glow.serving.signatures import Tensor

GREY = Tensor("images", np.dtype("uint8"), (None, 8, 6, 1))
COLOUR = Tensor("images", np.dtype("uint8"), (None, 8, 6, 3))


def encoded(image, format="PNG", **options):
    file = BytesIO()
    image.save(file, format, **options)
    return {"b64": base64.b64encode(file.getvalue()).decode()}


@pytest.mark.parametrize("tensor", [GREY, COLOUR])
def test_png_there_and_back(tensor):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [3, *tensor.shape[1:]], np.uint8)
    np.testing.assert_array_equal(from_base64(to_base64(images), tensor), images)


def test_jpeg_is_read():
    image = Image.new("L", (6, 8), 77)
    np.testing.assert_array_equal(
        from_base64([encoded(image, "JPEG")], GREY), np.full([1, 8, 6, 1], 77)
    )


def test_rotated_as_the_camera_says():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(8, 6))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (turned,) = from_base64([encoded(image, exif=exif)], GREY)
    np.testing.assert_array_equal(turned[..., 0], np.asarray(image)[::-1, ::-1])
    exif[0x0112] = 6  # lies on its side
    with pytest.raises(Refused, match="must be 6 x 8 pixels. Received: 8 x 6"):
        from_base64([encoded(image, exif=exif)], GREY)
    lying = image.transpose(Image.Transpose.ROTATE_90)
    np.testing.assert_array_equal(
        from_base64([encoded(lying, exif=exif)], GREY)[0, :, :, 0], image
    )


def test_grey_of_a_canvas_stays_what_it_is():
    # A browser's canvas writes RGBA.
    grey = np.arange(48, dtype=np.uint8).reshape(8, 6)
    rgba = Image.fromarray(grey).convert("RGBA")
    np.testing.assert_array_equal(from_base64([encoded(rgba)], GREY)[0, :, :, 0], grey)


def test_transparent_is_white_and_palettes_are_colours():
    clear = Image.new("RGBA", (6, 8), (0, 0, 0, 0))
    np.testing.assert_array_equal(from_base64([encoded(clear)], COLOUR), 255)
    red = Image.new("RGB", (6, 8), (255, 0, 0)).convert("P")
    assert from_base64([encoded(red)], COLOUR)[0, 0, 0].tolist() == [255, 0, 0]


def bomb(width, height):
    """A PNG of a few bytes whose head promises many pixels."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10**6))
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels)
    return {"b64": base64.b64encode(data + chunk(b"IEND", b"")).decode()}


@pytest.mark.parametrize("size", [(6, 9), (10_000, 8_000), (2**30, 2**30)])
def test_other_sizes_are_refused_before_pixels_are_read(size, monkeypatch):
    def fail(*arguments):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr(Image.Image, "convert", fail)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(Refused, match="6 x 8 pixels|no PNG"):
        from_base64([bomb(*size)], GREY)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"b64": "###"}, "no base64"),
        ({"b64": "ab\nc"}, "no base64"),
        ({"b64": "é"}, "no base64"),
        ({"b64": ""}, "no PNG or JPEG"),
        ({"b64": base64.b64encode(b"GIF89a").decode()}, "no PNG or JPEG"),
        ({"b64": 3}, 'must be {"b64"'),
        ({"b64": "", "x": 1}, 'must be {"b64"'),
        ([1], 'must be {"b64"'),
    ],
)
def test_what_is_no_picture_is_refused(value, message):
    with pytest.raises(Refused, match=message):
        from_base64([value], GREY)


def test_damaged_and_unusual_pictures_are_refused():
    whole = base64.b64decode(encoded(Image.effect_noise((6, 8), 90))["b64"])
    for end in range(len(whole) - 4):  # but for the checksum of its end
        cut = {"b64": base64.b64encode(whole[:end]).decode()}
        with pytest.raises(Refused, match="no PNG or JPEG"):
            from_base64([cut], GREY)
    deep = Image.fromarray(np.zeros([8, 6], np.uint16))
    with pytest.raises(Refused, match="8 bits"):
        from_base64([encoded(deep)], GREY)
    labels = Tensor("labels", np.dtype("int32"), (None,))
    with pytest.raises(Refused, match="`labels` cannot be a picture"):
        from_base64([encoded(Image.new("L", (6, 8)))], labels)
