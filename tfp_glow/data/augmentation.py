"""Changes of training images that leave them plausible."""

import tensorflow as tf

__all__ = ["random_shift"]


def random_shift(
    batches: tf.data.Dataset, max_shift: int, *, seed: int = 0
) -> tf.data.Dataset:
    """Moves half of the images by up to some pixels up or down, left or right.

    What comes in at the edge is zero. The model then learns a mixture of the data set
    and of its moved images, which costs it at most one bit an image: 1 / (H W C)
    bits/dim.

    Args:
        batches: Batches of images, or of pairs of images and labels.
        max_shift: Largest number of pixels in either direction.
        seed: Seed. Each epoch draws anew.

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

    def shift_element(
        element: tf.Tensor | tuple[tf.Tensor, tf.Tensor], seeds: tf.Tensor
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        if isinstance(element, tuple):
            images, labels = element
            return shift(images, seeds), labels
        return shift(element, seeds)

    seeds = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).batch(2)
    return tf.data.Dataset.zip(batches, seeds).map(shift_element)
