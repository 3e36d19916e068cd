"""What Pillow's pictures have to go through to become images of a model."""

from PIL import Image

__all__ = ["on_white"]


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
