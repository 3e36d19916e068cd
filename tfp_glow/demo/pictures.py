"""Pictures that people upload, as a model's images, or a sentence on why not."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from tfp_glow.data.padding import pad, padded_shape
from tfp_glow.data.squares import without_transparency

__all__ = ["MAX_BYTES", "read_upload"]

MAX_BYTES = 20 * 2**20
"""Of a file."""
_MAX_PIXELS = 50_000_000  # 150 MB once it is decoded
_REDUCING_GAP = 3.0


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
        `uint8` `[H, W, C]`, and what was done to it, a sentence or nothing.

    Raises:
        ValueError: If it cannot be used; the message is for whoever uploaded it.
    """
    if Path(file).stat().st_size > MAX_BYTES:
        raise ValueError(
            f"This file is too large: at most {MAX_BYTES // 2**20} MB can be read. "
            "Make the picture smaller."
        )
    height, width, channels = event_shape
    try:
        with Image.open(file) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                raise ValueError(
                    f"This picture is too large: it has {opened.width:,} x "
                    f"{opened.height:,} pixels, and at most "
                    f"{_MAX_PIXELS // 10**6} million can be read. Make it smaller."
                )
            notes = []
            if getattr(opened, "n_frames", 1) > 1:
                notes.append("It moves: this is its first frame.")
            if opened.has_transparency_data:
                notes.append("What is transparent became white.")
            enough = [round(_REDUCING_GAP * size) for size in (width, height)]
            opened.draft(None, enough)
            image = without_transparency(ImageOps.exif_transpose(opened), channels)
    except ValueError:
        raise
    except Image.DecompressionBombError:
        raise ValueError("This picture is too large. Make it smaller.") from None
    except Exception:  # Pillow raises many kinds.
        raise ValueError(
            "This file is no picture that can be read. Choose a PNG, JPEG, WebP, GIF, "
            "BMP or TIFF file."
        ) from None
    own_shape = (image.height, image.width, channels)
    if own_shape != event_shape and padded_shape(own_shape) == event_shape:
        return pad(np.asarray(image).reshape(own_shape), own_shape).numpy(), "".join(
            notes
        )
    image = ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(event_shape), " ".join(notes)
