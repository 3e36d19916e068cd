"""Images with any number of leading dimensions, handled as one batch."""

from collections.abc import Callable

import tensorflow as tf

__all__ = ["apply_to_flat_batch"]


def apply_to_flat_batch(
    function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tf.Tensor:
    """Applies a function of `[B, H, W, C]` to `[..., H, W, C]`, no `...` included.

    Args:
        function: Maps `[B, H, W, C]` to `[B, h, w, c]`.
        x: `[..., H, W, C]`.

    Returns:
        `[..., h, w, c]`.
    """
    if x.shape.rank == 4:
        return function(x)
    event_shape = [
        tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
        for axis in (-3, -2, -1)
    ]
    y = function(tf.reshape(x, [-1, *event_shape]))
    leading = x.shape[:-3]
    known = leading if leading.is_fully_defined() else tf.shape(x)[:-3]
    return tf.reshape(y, tf.concat([known, tf.shape(y)[1:]], axis=0))
