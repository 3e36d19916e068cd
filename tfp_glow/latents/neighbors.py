"""The images that are nearest to others: has a model learned them by heart?"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from tfp_glow._batches import slices
from tfp_glow._checks import check_positive_integer

__all__ = ["Neighbors", "nearest_images"]


class Neighbors(NamedTuple):
    """What `nearest_images` returns.

    Attributes:
        images: The nearest images, the nearest first, `uint8` `[B, K, H, W, C]`.
        indices: Which ones of all they are, `[B, K]`.
        distances: Their distances, root mean squares over the numbers compared,
            `[B, K]`.
    """

    images: np.ndarray
    indices: np.ndarray
    distances: np.ndarray


def nearest_images(
    queries: np.ndarray,
    images: Iterable[Any] | np.ndarray,
    num_neighbors: int = 5,
    *,
    encode: Callable[[np.ndarray], Any] | None = None,
    batch_size: int = 1000,
) -> Neighbors:
    """The training images nearest to samples, in one pass over them.

    Samples that are nearer to training images than held-out images are would be
    memorised ones.

    Args:
        queries: `uint8` `[B, H, W, C]`, such as samples.
        images: `uint8` `[N, H, W, C]`; or batches of images, or of images and labels,
            such as those of a `tf.data.Dataset`.
        num_neighbors: How many to find for each query, K.
        encode: What is compared: `model.encode`, for instance. The pixels when not
            given.
        batch_size: How many images are compared at a time, where they are an array.

    Returns:
        The nearest images, where they stand, and how far they are.

    Raises:
        TypeError: If images are not `uint8`.
        ValueError: If there are fewer images than neighbours, or shapes differ.

    Example:
        >>> images, _ = data.load_arrays("digits", "train", limit=100)
        >>> found = latents.nearest_images(images[7:9], images, 3)
        >>> found.indices[:, 0], found.images.shape
        (array([7, 8]), (2, 3, 8, 8, 1))
    """
    check_positive_integer("num_neighbors", num_neighbors)
    check_positive_integer("batch_size", batch_size)
    _check("queries", queries)
    encode = encode or np.asarray
    wanted = _vectors(encode(queries))  # [B, D]
    shape = np.shape(queries)
    nearest = Neighbors(
        np.zeros([len(wanted), 0, *shape[1:]], np.uint8),
        np.zeros([len(wanted), 0], np.int64),
        np.zeros([len(wanted), 0]),
    )
    if hasattr(images, "shape"):  # an array or a tensor, no batches
        all_images = images
        images = (all_images[part] for part in slices(len(all_images), batch_size))
    count = 0
    for batch in images:
        batch = np.asarray(batch[0] if isinstance(batch, tuple | list) else batch)
        _check("images", batch, shape[1:])
        vectors = _vectors(encode(batch))  # [N, D]
        distances = [np.square(vectors - one).mean(axis=1) for one in wanted]
        distances = np.sqrt(distances)  # [B, N]
        order = np.argsort(distances, axis=1, kind="stable")[:, :num_neighbors]
        distances = np.take_along_axis(distances, order, axis=1)
        new = Neighbors(batch[order], count + order, distances)
        nearest = _nearest(nearest, new, num_neighbors)
        count += len(batch)
    if count < num_neighbors:
        raise ValueError(
            f"There must be at least {num_neighbors} images to find as many. Received: "
            f"{count} images."
        )
    return nearest


def _check(name: str, images: Any, event_shape: tuple[int, ...] | None = None) -> None:
    """Raises unless these are some images, of a shape where it is known."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(
            f"`{name}` must be uint8, from 0 to 255. Received: dtype={images.dtype}."
        )
    expected = event_shape or images.shape[1:]
    if images.ndim != 4 or images.shape[1:] != expected or not images.size:
        sides = ", ".join(map(str, event_shape or "HWC"))
        raise ValueError(
            f"`{name}` must be images in batches, [B, {sides}]. Received: "
            f"shape={images.shape}."
        )


def _vectors(values: Any) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values.reshape(len(values), -1)


def _nearest(found: Neighbors, new: Neighbors, num_neighbors: int) -> Neighbors:
    both = [np.concatenate(pair, axis=1) for pair in zip(found, new, strict=True)]
    order = np.argsort(both[-1], axis=1, kind="stable")[:, :num_neighbors]
    rows = np.arange(len(order))[:, np.newaxis]
    return Neighbors(*(part[rows, order] for part in both))
