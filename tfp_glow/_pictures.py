"""Between Pillow's pictures and images of a model."""

from io import BytesIO

import numpy as np
from PIL import Image

__all__ = ["on_white", "to_8_bits", "to_png"]


def on_white(image: Image.Image, channels: int) -> Image.Image:
    """A picture of 8 bits as grey or RGB; what is transparent becomes white.

    Args:
        image: The picture, of any of Pillow's modes of 8 bits.
        channels: 1 for grey, 3 for RGB.
    """
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB" if channels == 3 else "L")


def to_8_bits(image: Image.Image) -> Image.Image:
    """16 bits of grey as 8; Pillow's own conversion would cut off what is above 255.

    Integers of 32 bits whose values need no more than 8 stay as they are.

    Raises:
        ValueError: If a picture has more than 16 bits, or fractions.
    """
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers, not integers.")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65_535:
        raise ValueError("its values have more than 16 bits.")
    if image.mode != "I" or values.max() > 255:
        values = values // 256
    return Image.fromarray(values.astype(np.uint8))


def to_png(image: np.ndarray) -> bytes:
    """An image, `uint8` `[H, W, C]` with 1 or 3 channels, as the content of a file."""
    file = BytesIO()
    is_grey = image.shape[-1] == 1
    Image.fromarray(image[..., 0] if is_grey else image).save(file, "PNG")
    return file.getvalue()
