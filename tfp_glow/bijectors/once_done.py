"""An order of work for TensorFlow's executor and for XLA."""

from collections.abc import Sequence

import tensorflow as tf

from tfp_glow.convolution import is_for_xla

__all__ = ["once_done"]


def once_done(
    tensors: Sequence[tf.Tensor], others: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """The same tensors, with which nothing begins before all of them and others exist.

    TensorFlow's executor waits for what an operation is told to wait for. XLA waits for
    what goes in: that is given a zero that depends on all, which XLA cannot know.

    Args:
        tensors: Of floating-point numbers.
        others: More to wait for, of floating-point numbers.
    """
    if not is_for_xla():
        return tf.tuple(tensors, control_inputs=others)
    filled = [x for x in [*tensors, *others] if x.shape.num_elements() != 0]
    firsts = tf.stack([tf.cast(tf.reshape(x, [-1])[0], tf.float64) for x in filled])
    is_impossible = tf.reduce_any(tf.abs(firsts) < -1.0)  # not true of NaN either
    return [x + tf.cast(is_impossible, x.dtype) for x in tensors]
