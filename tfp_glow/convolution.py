"""Convolutions that see the edge of the image, as openai/glow's do."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

__all__ = ["conv"]


def conv(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    input_scale: tf.Tensor | None = None,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """`activation(convolution(x * input_scale) + bias)`, in the type of `x`.

    A kernel with one more input channel than `x` has is openai/glow's, with the edge
    indicator last.
    """
    x = tf.convert_to_tensor(x)
    channels_in = x.shape[-1]
    if kernel.shape[:2] == [1, 1] and x.dtype == tf.bfloat16:
        # On a CPU the gradients of a convolution take longer than those of a product,
        # unlike in float32.
        return _product(x, kernel, bias, activation)
    if kernel.shape[2] == channels_in + 1:
        # With few channels a product of patches is faster than a convolution, its
        # gradient with respect to the input most of all. To make them costs as many
        # operations for each pixel as they have numbers, squared.
        if input_scale is None and 0 < channels_in < kernel.shape[3] / 36:
            return _product(_patches(x), kernel, bias, activation)
        # The gradient of a split is one concatenation, that of two slices is not.
        kernel, of_edge = tf.split(kernel, [channels_in, 1], axis=2)
        edges = tf.matmul(_edge_taps(x, bias.dtype), tf.reshape(of_edge, [9, -1]))
        bias += tf.reshape(edges, [1, *_spatial_shape(x), kernel.shape[-1]])
        if channels_in == 0:  # a prior that depends on nothing but the place
            return tf.cast(bias, x.dtype)
    if input_scale is not None:
        kernel *= input_scale[:, tf.newaxis]
    kernel, bias = tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype)
    return activation(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)


def _product(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """`activation(x @ kernel + bias)` at each pixel, of a kernel `[..., channels]`."""
    kernel = tf.reshape(tf.cast(kernel, x.dtype), [x.shape[-1], kernel.shape[-1]])
    flat = tf.reshape(x, [-1, x.shape[-1]]) @ kernel
    flat = tf.nn.bias_add(flat, tf.cast(bias, x.dtype))
    return tf.reshape(activation(flat), [-1, *_spatial_shape(x), kernel.shape[-1]])


def _patches(x: tf.Tensor) -> tf.Tensor:
    """What a 3 x 3 kernel sees of each pixel, by tap: `[B, H, W, 9 (channels + 1)]`.

    The edge indicator comes after the channels, as in openai/glow's kernels.
    """
    channels = x.shape[-1] + 1
    each = np.eye(9 * channels, dtype=x.dtype.as_numpy_dtype)
    each = each.reshape(3, 3, channels, 9 * channels)[:, :, :-1]
    is_edge = (np.arange(channels) == channels - 1).astype(each.dtype)
    edges = _edge_taps(x, x.dtype)[..., np.newaxis] * is_edge
    edges = tf.reshape(edges, [1, *_spatial_shape(x), 9 * channels])
    return tf.nn.conv2d(x, each, 1, "SAME") + edges


def _edge_taps(x: tf.Tensor, dtype: tf.DType) -> tf.Tensor | np.ndarray:
    """Which taps of a 3 x 3 kernel lie outside the image: 1 or 0, `[H W, 9]`.

    openai/glow pads images with zeros and adds a channel that is 1 on the padding and
    0 inside. This is what a convolution sees of that channel, in every image.
    """
    height, width = _spatial_shape(x)
    if isinstance(height, int):  # a constant, of which a loop keeps no copies
        outside = np.pad(np.zeros([height, width]), 1, constant_values=1)
        outside = outside.astype(dtype.as_numpy_dtype)
        stack, reshape = np.stack, np.reshape
    else:
        inside = tf.zeros([height, width], dtype)
        outside = tf.pad(inside, [[1, 1], [1, 1]], constant_values=1)
        stack, reshape = tf.stack, tf.reshape
    taps = [outside[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return reshape(stack(taps, axis=-1), [-1, 9])


def _spatial_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Height and width, as numbers where they are known."""
    if None in x.shape[1:3]:
        return tf.unstack(tf.shape(x)[1:3])
    return list(x.shape[1:3])
