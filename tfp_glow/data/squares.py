"""Pictures of any size, and in any of Pillow's formats, as squares of one size.

openai/glow prepared its pictures in two ways, and `CROPS` are these:

- "center": the square in the middle, as large as the picture is high or wide, made
  smaller. So it made the 96x96, 128x128 and 256x256 pictures of LSUN that the paper
  shows samples of (`generate_tfr/lsun.py`).
- "random": the picture is made smaller until its shorter side is one and a half times
  the square's, and the square is cut anywhere out of that: of LSUN, 64x64 out of 96,
  as RealNVP did, and the paper's table 2 is of these. Here validation and test have the
  middle of the same 96, so that a figure does not depend on a seed.

Both reduce with Lanczos's filter, which is antialiased: openai/glow did so for "center"
(Pillow's `ANTIALIAS`), and took a Gaussian pyramid of scikit-image for "random". Faces
of the paper are those of CelebA-HQ, 256x256 already; of CelebA, 218x178, "center" takes
178x178, where RealNVP took 148x148.

References:
    Dinh, Sohl-Dickstein and Bengio. Density estimation using Real NVP, section 4.1.
    https://arxiv.org/abs/1605.08803
    https://github.com/openai/glow, README.md and data_loaders/generate_tfr/lsun.py
"""

import functools
import io
import logging
import os
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from tfp_glow._pictures import on_white, to_8_bits
from tfp_glow._suggest import suggestion

__all__ = ["CROPS", "check_crop", "note", "to_squares"]

CROPS = ("center", "random")
"""How a square is cut out of a picture."""

_SHORTER_SIDE = 1.5  # in sides of the square, where it is cut at random
_REDUCING_GAP = 3.0  # Pillow: "practically indistinguishable" from a full decoding
_MIDDLE = (0.5, 0.5)
_warned: set[int] = set()  # checksums of pictures that were told of

_log = logging.getLogger("tfp_glow")


def check_crop(crop: str, image_size: int | None) -> None:
    """Checks how a square is to be cut out.

    Raises:
        ValueError: If `crop` is not one of `CROPS`, or needs a size.
    """
    if crop not in CROPS:
        raise ValueError(
            f"`crop` (--crop) must be one of {CROPS}. Received: crop={crop!r}."
            f"{suggestion(str(crop), CROPS)}"
        )
    if crop == "random" and image_size is None:
        raise ValueError(
            "Random crops need a size: give `image_size` (--image-size), such as 32 or "
            "64. Received: crop='random', image_size=None."
        )


def note(image_size: int | None, crop: str) -> str:
    """Returns what to say beside a figure."""
    if image_size is None:
        return "the square in the middle"
    size = f"{image_size}x{image_size}"
    if crop == "center":
        return f"the square in the middle, resized to {size}"
    side = round(_SHORTER_SIDE * image_size)
    return (
        f"resized to a shorter side of {side}, of which training takes {size} at "
        "random and validation and test the middle"
    )


def to_squares(
    examples: tf.data.Dataset,
    shape: tuple[int, int, int],
    *,
    crop: str = "center",
    seed: int | tf.Tensor | None = None,
) -> tf.data.Dataset:
    """Decodes, cuts and resizes; leaves out what cannot be read, with a warning each.

    There is one warning of a picture, however often it comes.

    A camera's rotation is applied, and what is transparent becomes white.

    Args:
        examples: Dictionaries in which `file` is the name of a picture's file, or
            `encoded` the content of one. What else is in them is kept.
        shape: `(S, S, C)` of the squares; grey where C is 1.
        crop: One of `CROPS`.
        seed: Where "random" cuts, anew in each epoch; in the middle when not given.

    Shapes:
        Dictionaries of `image`, uint8 `[S, S, C]`, and what was kept.

    Returns:
        The examples, in the same order.
    """
    (key,) = {"file", "encoded"} & examples.element_spec.keys()
    open_picture = _open_file if key == "file" else _open_content
    read = functools.partial(_read, open_picture=open_picture, shape=shape, crop=crop)

    def convert(
        example: dict[str, tf.Tensor], place: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        kept = {name: value for name, value in example.items() if name != key}
        arguments = [example[key], place]
        image = tf.numpy_function(read, arguments, tf.uint8, stateful=False)
        return {"image": image, **kept}

    def is_readable(example: dict[str, tf.Tensor]) -> tf.Tensor:
        return tf.size(example["image"]) > 0

    def finish(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return example | {"image": tf.ensure_shape(example["image"], shape)}

    if seed is None or crop == "center":
        places = tf.data.Dataset.from_tensors(tf.constant(_MIDDLE)).repeat()
    else:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
        places = seeds.map(lambda pair: tf.random.stateless_uniform([2], pair))
    return (
        tf.data.Dataset.zip(examples, places)
        .map(convert, num_parallel_calls=tf.data.AUTOTUNE)
        .filter(is_readable)
        .map(finish)
    )


def _open_file(name: bytes) -> Image.Image:
    return Image.open(os.fsdecode(name))


def _open_content(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _read(
    picture: bytes,
    place: np.ndarray,
    *,
    open_picture: Callable[[bytes], Image.Image],
    shape: tuple[int, int, int],
    crop: str,
) -> np.ndarray:
    """The picture as `[S, S, C]`, or nothing, and a warning, if it cannot be read."""
    size, _, channels = shape
    shorter_side = 1.0 if crop == "center" else _SHORTER_SIDE
    try:
        with open_picture(picture) as image:
            # JPEG can be decoded at a half, a quarter or an eighth of its size.
            enough = round(_REDUCING_GAP * shorter_side * size)
            image.draft(None, (enough, enough))
            image = ImageOps.exif_transpose(image)
            image = on_white(to_8_bits(image), channels)
            image = _cut(image, size, place, crop)
            return np.asarray(image).reshape(shape)
    except Exception as error:  # Pillow raises many kinds; training is to go on.
        checksum = zlib.crc32(picture)
        if checksum not in _warned:  # or else it was in an earlier pass
            _warned.add(checksum)
            is_file = open_picture is _open_file
            name = os.fsdecode(picture) if is_file else "A picture of the data set"
            _log.warning("%s cannot be read and is left out: %s", name, error)
        return np.zeros([0, 0, 0], np.uint8)


def _cut(image: Image.Image, size: int, place: np.ndarray, crop: str) -> Image.Image:
    """The square, resized."""
    if crop == "center":  # cut before it is resized: nothing from outside bleeds in
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.crop((left, top, left + side, top + side))
        return image.resize((size, size), Image.Resampling.LANCZOS)
    side = min(image.size) / _SHORTER_SIDE
    left, top = (np.array(image.size) - side) * place
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box)
