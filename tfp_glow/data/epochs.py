"""Batches of epoch after epoch whose order hangs on seed and epoch alone."""

from collections.abc import Callable, Sequence
from math import prod

import tensorflow as tf

__all__ = ["decoded_once", "endless_epochs", "num_shuffled"]

_SHUFFLED_IMAGES = 10_000
_MAX_BYTES = 2**28  # of images that are in memory, to be shuffled or to come again
_NO_EXAMPLES = "`examples` must have at least one example. Received: an empty data set."


def num_shuffled(event_shape: Sequence[int]) -> int:
    """How many images of a shape are shuffled at a time.

    Args:
        event_shape: `[H, W, C]`.
    """
    return min(_SHUFFLED_IMAGES, max(1, _MAX_BYTES // prod(event_shape)))


def decoded_once(
    examples: tf.data.Dataset, num_images: int, event_shape: Sequence[int]
) -> tf.data.Dataset:
    """Returns examples that stay in memory, if there is room for all of them.

    They are read to the end before it returns: where less than all is read, `cache`
    warns, and keeps nothing.

    Args:
        examples: Single examples, the same each time.
        num_images: How many there are, at most.
        event_shape: `[H, W, C]` of their images.
    """
    if num_images * prod(event_shape) > _MAX_BYTES:
        return examples
    examples = examples.cache()
    for _ in examples.batch(100):
        pass
    return examples


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

    Raises:
        tf.errors.InvalidArgumentError: When batches are asked for and there are no
            examples.

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
        batches = shuffled.batch(batch_size)

        def fail(_: tf.Tensor) -> tf.data.Dataset:
            tf.debugging.Assert(False, [_NO_EXAMPLES])
            return batches

        # What is empty ends however often it is to come, and all epochs being empty
        # the next one would be looked for without end.
        failure = tf.data.Dataset.range(1).flat_map(fail)
        return batches.repeat().concatenate(failure).take(num_batches)

    first_epoch, begun = divmod(first_batch, num_batches)
    numbers = tf.data.Dataset.counter(first_epoch)
    return numbers.flat_map(epoch).skip(begun).prefetch(tf.data.AUTOTUNE)
