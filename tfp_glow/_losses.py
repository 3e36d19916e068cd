"""Losses and gradients of the batches of all replicas.

A gradient is None where the loss does not hang on the variable.
"""

import tensorflow as tf

from tfp_glow._replicas import sum_over_replicas

__all__ = ["clipped", "mean_over_batch", "norm_of", "sum_with_gradients"]


def mean_over_batch(losses: tf.Tensor, sample_weight: tf.Tensor | None) -> tf.Tensor:
    """Mean over the batches of all replicas, as this one's share of the sum."""
    if sample_weight is not None:
        losses *= tf.cast(sample_weight, losses.dtype)
    (num_examples,) = sum_over_replicas([tf.cast(tf.size(losses), losses.dtype)])
    return tf.reduce_sum(losses) / tf.maximum(num_examples, 1)


def sum_with_gradients(
    values: list[tf.Tensor], gradients: list[tf.Tensor | None]
) -> tuple[list[tf.Tensor], list[tf.Tensor | None]]:
    """Sums values and gradients over replicas, all at once."""
    known = [tf.convert_to_tensor(g) for g in gradients if g is not None]
    sums = iter(sum_over_replicas([*values, *known]))
    values = [next(sums) for _ in values]
    return values, [g if g is None else next(sums) for g in gradients]


def norm_of(gradients: list[tf.Tensor | None], dtype: tf.DType) -> tf.Tensor:
    """Norm of all gradients together."""
    halves = [tf.nn.l2_loss(tf.cast(g, dtype)) for g in gradients if g is not None]
    return tf.sqrt(2 * tf.add_n([tf.zeros([], dtype), *halves]))


def clipped(
    gradients: list[tf.Tensor | None], norm: tf.Tensor, largest: float
) -> list[tf.Tensor | None]:
    """Gradients shortened to the largest norm, where theirs is longer."""
    factor = tf.minimum(largest / norm, 1.0)
    return [None if g is None else g * tf.cast(factor, g.dtype) for g in gradients]
