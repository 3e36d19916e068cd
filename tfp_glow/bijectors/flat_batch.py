"""Images with any number of leading dimensions, handled as one batch."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

__all__ = ["apply_to_flat_batch"]

Tensors = TypeVar("Tensors", tf.Tensor, tuple[tf.Tensor, ...])


def apply_to_flat_batch(
    function: Callable[[tf.Tensor], Tensors], x: tf.Tensor
) -> Tensors:
    """Applies a function of `[B, H, W, C]` to `[..., H, W, C]`, no `...` included.

    Args:
        function: Maps `[B, H, W, C]` to `[B, ...]`, or to several such tensors.
        x: `[..., H, W, C]`.

    Returns:
        What the function returned, with the leading dimensions of `x` in place of `B`.
    """
    if x.shape.rank == 4:
        return function(x)
    event_shape = [
        tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
        for axis in (-3, -2, -1)
    ]
    leading = x.shape[:-3]
    known = leading if leading.is_fully_defined() else tf.shape(x)[:-3]
    return tf.nest.map_structure(
        lambda y: tf.reshape(y, tf.concat([known, tf.shape(y)[1:]], axis=0)),
        function(tf.reshape(x, [-1, *event_shape])),
    )
