"""Images of requests and answers as PNG and JPEG, in base64."""

import base64
import binascii
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from tfp_glow._pictures import on_white, to_png
from tfp_glow.serving.refused import Refused
from tfp_glow.serving.signatures import Tensor

__all__ = ["from_base64", "is_base64", "to_base64"]

_MODES = {"1", "L", "LA", "P", "RGB", "RGBA"}


def is_base64(value: Any) -> bool:
    """Whether a value of JSON is `{"b64": ...}`, as TensorFlow Serving has bytes."""
    return type(value) is dict and value.keys() == {"b64"}


def from_base64(values: list[Any], tensor: Tensor) -> np.ndarray:
    """Reads pictures.

    Colours become grey where the model's images are; what is transparent becomes white.

    Args:
        values: Each `{"b64": ...}`.
        tensor: The images that the model takes.

    Returns:
        `uint8` `[B, H, W, C]`.

    Raises:
        Refused: If one is no picture, or of another size. A picture's size is in its
            head: no pixel of one that is too large is looked at.
    """
    if not tensor.is_image:
        raise Refused(f"`{tensor.name}` cannot be a picture: it is no image.")
    return np.stack([_image(value, tensor) for value in values])


def to_base64(images: np.ndarray) -> list[dict[str, str]]:
    """Writes each image as a PNG.

    Args:
        images: `uint8` `[B, H, W, C]`, with 1 or 3 channels.

    Returns:
        For each `{"b64": ...}`.
    """
    return [
        {"b64": base64.b64encode(to_png(image)).decode("ascii")} for image in images
    ]


def _image(value: Any, tensor: Tensor) -> np.ndarray:
    _, height, width, num_channels = tensor.shape
    if not is_base64(value) or not isinstance(value["b64"], str):
        raise Refused(f'Each picture of `{tensor.name}` must be {{"b64": "..."}}.')
    try:
        data = base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"A picture of `{tensor.name}` is no base64.") from error
    try:
        with _opened(data) as image:
            if sorted(image.size) != sorted((width, height)):
                raise _wrong_size(image, tensor)
            if image.mode not in _MODES:
                raise Refused(f"A picture has mode {image.mode}: 8 bits are expected.")
            image.verify()  # Else a PNG may be cut off behind its last pixel.
        with _opened(data) as image:
            image = on_white(_upright(image), num_channels)
            if image.size != (width, height):
                raise _wrong_size(image, tensor)
            return np.asarray(image, np.uint8).reshape(height, width, num_channels)
    except Refused:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for broken files.
        raise Refused(f"A picture of `{tensor.name}` is no PNG or JPEG.") from error


def _upright(image: Image.Image) -> Image.Image:
    """As the camera was held, where the picture can be understood to say so."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # Pillow raises many kinds for what is written there.
        return image


def _wrong_size(image: Image.Image, tensor: Tensor) -> Refused:
    _, height, width, _ = tensor.shape
    return Refused(
        f"Pictures of `{tensor.name}` must be {width} x {height} pixels. "
        f"Received: {image.width} x {image.height}."
    )


def _opened(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data), formats=("PNG", "JPEG"))
