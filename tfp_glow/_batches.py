"""Many images, some at a time."""

from collections.abc import Iterator

__all__ = ["slices"]


def slices(num_images: int, batch_size: int) -> Iterator[slice]:
    """Where batches of images begin and end."""
    for start in range(0, num_images, batch_size):
        yield slice(start, min(start + batch_size, num_images))
