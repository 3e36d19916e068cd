"""Pictures that people upload, as a model's images, or a sentence on why not."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfp_glow._pictures import on_white, to_8_bits
from tfp_glow.data.padding import pad, padded_shape

__all__ = ["MAX_BYTES", "read_upload"]

MAX_BYTES = 20 * 2**20
"""Of a file."""
_MAX_PIXELS = 50_000_000  # 200 MB once it is decoded
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_MOVING = ("PNG", "WEBP", "GIF")
_REDUCING_GAP = 3.0  # Pillow: "practically indistinguishable" from a full decoding


def read_upload(
    file: str | Path, event_shape: tuple[int, int, int]
) -> tuple[np.ndarray, str]:
    """Reads a picture: its middle, resized.

    Pictures of the size that a model's images had before they were padded are padded
    too.

    Args:
        file: Name of the file.
        event_shape: `(H, W, C)` of the model.

    Returns:
        `uint8` `[H, W, C]`, and what was done to it: a sentence or two, or nothing.

    Raises:
        ValueError: If it cannot be used; the message is for whoever uploaded it.
    """
    if not Path(file).is_file():
        raise ValueError("This picture is no longer here. Choose it again.")
    if Path(file).stat().st_size > MAX_BYTES:
        raise ValueError(
            f"This file is too large: at most {MAX_BYTES // 2**20} MB can be read. "
            "Make the picture smaller."
        )
    height, width, channels = event_shape
    try:
        with Image.open(file, formats=_FORMATS) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise Image.DecompressionBombError
            notes = _notes(opened)
            # JPEG can be decoded at a half, a quarter or an eighth of its size.
            opened.draft(
                None, [round(_REDUCING_GAP * side) for side in (width, height)]
            )
            ImageOps.exif_transpose(opened, in_place=True)
            image = on_white(to_8_bits(opened), channels)
    except Image.DecompressionBombError:  # Pillow's own limit is higher.
        raise ValueError(
            "This picture is too large: at most "
            f"{_MAX_PIXELS // 10**6} million pixels can be read. Make it smaller."
        ) from None
    except Exception:  # Pillow raises many kinds.
        raise ValueError(
            "This file is no picture that can be read here. Choose a PNG, JPEG, WebP, "
            "GIF, BMP or TIFF file."
        ) from None
    shape = (image.height, image.width, channels)
    if padded_shape(shape) == event_shape:
        return pad(np.asarray(image).reshape(shape), shape).numpy(), notes
    image = _middle(image, width, height)
    return np.asarray(image).reshape(event_shape), notes


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """Cut before it is resized, unlike `ImageOps.fit`: nothing outside bleeds in."""
    scale = min(image.width / width, image.height / height)
    cut = [max(1, round(scale * side)) for side in (width, height)]
    left, top = ((have - want) // 2 for have, want in zip(image.size, cut, strict=True))
    image = image.crop((left, top, left + cut[0], top + cut[1]))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _notes(picture: Image.Image) -> str:
    notes = []
    if picture.format in _MOVING and picture.is_animated:
        notes.append("It moves: this is its first frame.")
    if picture.has_transparency_data:
        notes.append("What is transparent became white.")
    return " ".join(notes)
