"""Changes of training images that leave them plausible."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["random_flip", "random_shift"]


def random_shift(
    batches: tf.data.Dataset,
    max_shift: int,
    *,
    seed: int = 0,
    first_batch: int | None = None,
) -> tf.data.Dataset:
    """Moves half of the images by up to some pixels up or down, left or right.

    What comes in at the edge is zero. The model then learns a mixture of the data set
    and of its moved images, which costs it at most one bit an image: 1 / (H W C)
    bits/dim.

    Args:
        batches: Batches of images, or of pairs of images and labels.
        max_shift: Largest number of pixels in either direction.
        seed: Seed. Each epoch draws anew.
        first_batch: Number of the first batch, of `endless_epochs`: then what a batch
            draws hangs on the seed and its number alone.

    Shapes:
        images: `[B, H, W, C]`.

    Returns:
        Batches of the same shapes.

    Example:
        >>> batches = tf.data.Dataset.from_tensors(tf.ones([64, 4, 4, 1], tf.uint8))
        >>> images = next(iter(random_shift(batches, 1)))
        >>> sorted(set(tf.reduce_sum(images, [1, 2, 3]).numpy().tolist()))
        [9, 12, 16]
    """

    def shift(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        size = tf.shape(images)[0]
        offsets = tf.random.stateless_uniform(
            [size, 2], seeds, 0, 2 * max_shift + 1, dtype=tf.int32
        )
        stays = tf.random.stateless_uniform([size, 1], seeds + 1) < 0.5
        offsets = tf.where(stays, max_shift, offsets)
        around = [max_shift, max_shift]
        padded = tf.pad(images, [[0, 0], around, around, [0, 0]])
        rows = offsets[:, :1] + tf.range(images.shape[1])
        columns = offsets[:, 1:] + tf.range(images.shape[2])
        moved = tf.gather(padded, rows, axis=1, batch_dims=1)
        return tf.gather(moved, columns, axis=2, batch_dims=1)  # [B, H, W, C]

    return _map_images(batches, shift, seed, first_batch)


def random_flip(
    batches: tf.data.Dataset, *, seed: int = 0, first_batch: int | None = None
) -> tf.data.Dataset:
    """Mirrors half of the images, left for right.

    The model then learns a mixture of the data set and of its mirrored images, which
    costs it at most one bit an image: 1 / (H W C) bits/dim.

    Args:
        batches: Batches of images, or of pairs of images and labels.
        seed: Seed. Each epoch draws anew.
        first_batch: Number of the first batch, of `endless_epochs`: then what a batch
            draws hangs on the seed and its number alone.

    Shapes:
        images: `[B, H, W, C]`.

    Returns:
        Batches of the same shapes.

    Example:
        >>> images = tf.reshape([1, 2] * 64, [64, 1, 2, 1])
        >>> batches = tf.data.Dataset.from_tensors(images)
        >>> images = next(iter(random_flip(batches)))
        >>> sorted(set(images[:, 0, 0, 0].numpy().tolist()))
        [1, 2]
    """

    def flip(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        shape = [tf.shape(images)[0], 1, 1, 1]
        is_flipped = tf.random.stateless_uniform(shape, seeds) < 0.5
        return tf.where(is_flipped, tf.reverse(images, [2]), images)

    return _map_images(batches, flip, seed, first_batch)


def _map_images(
    batches: tf.data.Dataset,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    seed: int,
    first_batch: int | None,
) -> tf.data.Dataset:
    """Calls `change(images, seeds)` on each batch, and passes labels on."""

    def change_element(
        element: tf.Tensor | tuple[tf.Tensor, tf.Tensor], seeds: tf.Tensor
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        if isinstance(element, tuple):
            images, labels = element
            return change(images, seeds), labels
        return change(element, seeds)

    if first_batch is None:
        seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    else:
        # Odd and even, for `seeds + 1` is another draw of the same batch.
        seeds = tf.data.Dataset.counter(first_batch).map(
            lambda n: 2 * tf.stack([tf.constant(seed, n.dtype), n])
        )
    return tf.data.Dataset.zip(batches, seeds).map(change_element)
