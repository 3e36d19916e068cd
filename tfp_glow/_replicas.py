"""What the replicas of `tf.distribute` have together; of one alone, what it has."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

__all__ = [
    "for_keras",
    "make_equal",
    "sum_over_replicas",
    "sum_over_replicas_before",
    "update_mean",
]


def sum_over_replicas(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """The sums of tensors over all replicas, in each of them."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return list(values)
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(values))


def sum_over_replicas_before(value: tf.Tensor) -> tf.Tensor:
    """The sum of a number over the replicas before this one."""
    context = tf.distribute.get_replica_context()
    num_replicas = context.num_replicas_in_sync
    if num_replicas == 1:
        return tf.zeros_like(value)
    index = tf.cast(context.replica_id_in_sync_group, tf.int32)
    (values,) = sum_over_replicas(
        [value * tf.one_hot(index, num_replicas, dtype=value.dtype)]
    )
    return tf.reduce_sum(tf.where(tf.range(num_replicas) < index, values, 0))


def update_mean(
    metric: Any, values: tf.Tensor, sample_weight: tf.Tensor | None
) -> None:
    """Counts values in a `keras.metrics.Mean`, the same in all replicas.

    Keras takes the mean of the replicas' means, whose examples may be more or fewer.
    """
    weights = tf.ones_like(values)
    if sample_weight is not None:
        weights *= tf.cast(sample_weight, weights.dtype)
    total, weight = sum_over_replicas(
        [tf.reduce_sum(weights * values), tf.reduce_sum(weights)]
    )
    metric.update_state(tf.math.divide_no_nan(total, weight), sample_weight=weight)


def make_equal(strategy: tf.distribute.Strategy, variables: Sequence[Any]) -> None:
    """Gives all workers the mean of what each of them has in its variables.

    The replicas of one process are equal already.

    Args:
        strategy: The strategy of the variables.
        variables: Keras's, of floating-point numbers.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    values = strategy.run(lambda: [tf.identity(v.value) for v in variables])
    for variable, value in zip(variables, values, strict=True):
        variable.assign(strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None))


def for_keras(metrics: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Metrics as a step returns them.

    Of several workers Keras takes a mean along the first axis
    (keras-team/keras#20585).
    """
    if not isinstance(
        tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy
    ):
        return metrics
    return {name: tf.reshape(value, [1]) for name, value in metrics.items()}
