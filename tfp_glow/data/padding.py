"""Zeros around images whose sides the levels of a Glow could not halve."""

import tensorflow as tf

from tfp_glow.data.sources import SIZE_MULTIPLE

__all__ = ["pad", "padded_shape", "padding_note"]


def padded_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Returns `(H, W, C)` of an image after `pad`.

    Example:
        >>> padded_shape((28, 28, 1))
        (32, 32, 1)
    """
    around = _around(shape)
    return tuple(size + sum(zeros) for size, zeros in zip(shape, around, strict=True))


def padding_note(shape: tuple[int, int, int]) -> list[str]:
    """Returns what to say beside a figure, in a list that is empty where nothing."""
    padded = padded_shape(shape)
    if padded == shape:
        return []
    return [
        f"{shape[0]}x{shape[1]} images padded to {padded[0]}x{padded[1]} with zeros"
    ]


def pad(image: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Puts an image of this shape into the centre of one of `padded_shape`."""
    return tf.pad(image, _around(shape))


def _around(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Returns zeros before and after for each axis."""
    missing = [-size % SIZE_MULTIPLE for size in shape[:2]]
    return [(total // 2, total - total // 2) for total in missing] + [(0, 0)]
