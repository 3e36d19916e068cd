"""Batches of epoch after epoch whose order hangs on seed and epoch alone."""

from collections.abc import Callable, Sequence
from math import prod

import tensorflow as tf

__all__ = ["endless_epochs", "num_shuffled"]

_SHUFFLED_IMAGES = 10_000
_SHUFFLED_BYTES = 2**28


def num_shuffled(event_shape: Sequence[int]) -> int:
    """How many images of a shape are shuffled at a time.

    Args:
        event_shape: `[H, W, C]`.
    """
    return min(_SHUFFLED_IMAGES, max(1, _SHUFFLED_BYTES // prod(event_shape)))


def endless_epochs(
    examples: tf.data.Dataset | Callable[[tf.Tensor], tf.data.Dataset],
    *,
    batch_size: int,
    num_batches: int,
    buffer_size: int = 10_000,
    seed: int = 0,
    first_batch: int = 0,
) -> tf.data.Dataset:
    """Returns shuffled batches without end, from any batch of any epoch on.

    No iterator keeps the order: a training that was interrupted goes on with the very
    batches that would have come. What comes before `first_batch` in its epoch is read
    and dropped.

    Args:
        examples: Single examples, always in the same order; or a function that gives
            those of an epoch, by its number, where they are not always the same, such
            as random crops.
        batch_size: Number of examples in a batch.
        num_batches: Batches of an epoch; the examples come again where they are fewer.
        buffer_size: Examples among which one is drawn; all, for a perfect shuffle.
        seed: Seed of the order.
        first_batch: Number of the first batch, counted from 0 through all epochs.

    Example:
        >>> ten = tf.data.Dataset.range(10)
        >>> options = dict(batch_size=5, num_batches=2, seed=1)
        >>> whole = [b.numpy().tolist() for b in endless_epochs(ten, **options).take(6)]
        >>> rest = next(iter(endless_epochs(ten, **options, first_batch=5)))
        >>> sorted(whole[0] + whole[1]), rest.numpy().tolist() == whole[5]
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], True)
    """

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone, in which it takes the place of whatever
        # `tf.random.set_seed` was called with. It must not be zero.
        tf.random.set_seed(seed % 2**31 + 1)
        these = examples(number) if callable(examples) else examples
        shuffled = these.shuffle(buffer_size, number, reshuffle_each_iteration=False)
        return shuffled.batch(batch_size).repeat().take(num_batches)

    first_epoch, begun = divmod(first_batch, num_batches)
    numbers = tf.data.Dataset.counter(first_epoch)
    return numbers.flat_map(epoch).skip(begun).prefetch(tf.data.AUTOTUNE)
