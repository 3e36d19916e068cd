"""Convolutions that see the edge of the image, as openai/glow's do."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import tensorflow as tf

__all__ = ["conv", "for_accelerator", "never_empty", "relu"]

_ALIGNMENT = 8
"""Of a matrix's rows: 16 bytes of bfloat16, below which products are slow on a GPU."""

_TAPS = [(row, column) for row in range(3) for column in range(3)]

_is_for_accelerator = False


@contextmanager
def for_accelerator() -> Iterator[None]:
    """What is traced inside is compiled for an accelerator, whatever this machine has.

    There all convolutions are products of matrices with aligned rows, to which XLA adds
    bias and ReLU without another pass over memory.
    """
    global _is_for_accelerator
    old, _is_for_accelerator = _is_for_accelerator, True
    try:
        yield
    finally:
        _is_for_accelerator = old


def relu(x: tf.Tensor) -> tf.Tensor:
    """`tf.nn.relu`, which XLA can make part of the product before it.

    From TensorFlow's gradient XLA would conclude that it has to keep what went in.
    """
    return _relu_for_accelerator(x) if _is_for_accelerator else tf.nn.relu(x)


@tf.custom_gradient
def _relu_for_accelerator(x: tf.Tensor) -> tuple:
    y = tf.nn.relu(x)
    return y, lambda dy: tf.where(tf.not_equal(y, 0), dy, tf.zeros_like(dy))


def never_empty(
    function: Callable[..., tf.Tensor | tuple[tf.Tensor, ...]],
) -> Callable[..., tf.Tensor | tuple[tf.Tensor, ...]]:
    """A function of a batch that convolves, as one that may be given an empty batch.

    With oneDNN TensorFlow's convolution of no images has the channels that they had:
    the function is given an image of zeros, and what comes of it is left out.

    Args:
        function: Maps `[B, ...]` and a context, `[B, ...]` or None, to such tensors.
    """

    def guarded(
        x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tf.Tensor | tuple[tf.Tensor, ...]:
        if x.shape[0]:
            return function(x, context)
        num_images = tf.shape(x)[0]
        num_missing = tf.cast(tf.equal(num_images, 0), tf.int32)

        def filled(value: tf.Tensor) -> tf.Tensor:
            return tf.pad(value, [[0, num_missing], *[[0, 0]] * (value.shape.rank - 1)])

        results = function(filled(x), None if context is None else filled(context))
        return tf.nest.map_structure(lambda y: y[:num_images], results)

    return guarded


def conv(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    scales: tuple[tf.Tensor, tf.Tensor] | None = None,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """`activation(convolution(x) + bias)`, in the type of `x`.

    Where `scales` are given, of the channels that go in and of those that come out,
    they are multiplied into the kernel.

    A kernel with one more input channel than `x` has is openai/glow's, with the edge
    indicator last.
    """
    x = tf.convert_to_tensor(x)
    channels_in = x.shape[-1]
    if kernel.shape[2] == channels_in + 1:
        if scales is None and 0 < channels_in < kernel.shape[3] / 8:
            return _conv_of_few_channels(x, kernel, bias, activation)
        # The gradient of a split is one concatenation, that of two slices is not.
        kernel, of_edge = tf.split(kernel, [channels_in, 1], axis=2)
        of_edge = tf.reshape(of_edge, [9, kernel.shape[-1]])
        if scales is not None:
            of_edge *= scales[1]
        edges = tf.matmul(_edge_taps(x, bias.dtype), tf.cast(of_edge, bias.dtype))
        bias += tf.reshape(edges, [1, *_spatial_shape(x), kernel.shape[-1]])
        if channels_in == 0:  # a prior that depends on nothing but the place
            return tf.cast(bias, x.dtype)
    if scales is not None:
        kernel *= scales[0][:, tf.newaxis] * scales[1]
    kernel, bias = tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype)
    if kernel.shape[:2] == [1, 1]:
        return _product(x, kernel, bias, activation)
    return activation(_conv_to_few_channels(x, kernel) + bias)


_ONEDNN_FLAGS = {
    "amx_bf16",
    "amx_int8",
    "amx_tile",
    "avx512_bf16",
    "avx512_vnni",
    "avx_vnni",
    "sve",
}
"""TensorFlow uses oneDNN by itself on processors that have one of these."""


@cache
def has_onednn() -> bool:
    """Whether TensorFlow convolves with oneDNN on this CPU, as far as can be seen."""
    option = os.environ.get("TF_ENABLE_ONEDNN_OPTS")
    if option in ("0", "1"):
        return option == "1"
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # no Linux
        return True
    return not _ONEDNN_FLAGS.isdisjoint(words)


def _conv_to_few_channels(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d`, made of products where they are faster.

    Without oneDNN, which TensorFlow uses only on processors with instructions for it,
    gradients that are products take a third to three quarters of the time of those of a
    convolution to few channels. With it they take longer. In bfloat16 the sum of nine
    products that have been rounded is less exact; an accelerator's sum is not rounded
    again.
    """
    channels_in, channels_out = kernel.shape[2:]
    if kernel.shape[:2] == [3, 3]:
        has_slow_gradients = (
            x.dtype != tf.bfloat16
            and not has_onednn()
            and not tf.config.list_physical_devices("GPU")
        )
        most = 1 if _is_for_accelerator else 4 if has_slow_gradients else 0
        if 9 * channels_out <= most * channels_in:
            return _conv_with_products_as_gradients(x, kernel)
    return tf.nn.conv2d(x, kernel, 1, "SAME")


@tf.custom_gradient
def _conv_with_products_as_gradients(x: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """`tf.nn.conv2d`, 3 x 3: both gradients from what the taps see of the output's.

    Where its output has few channels the convolution is the sum of products, too.
    """
    channels_in, channels_out = kernel.shape[2:]
    num_products = 9 * channels_out
    unused = -num_products % _ALIGNMENT if _is_for_accelerator else 0
    flat = tf.transpose(kernel, [2, 0, 1, 3])
    flat = tf.reshape(flat, [channels_in, num_products])
    flat = _with_zeros(flat, unused)

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # A tap sees of the output's gradient what its opposite sees of the input.
        seen = tf.reshape(_seen_by_taps(dy, _TAPS[::-1]), [-1, num_products])
        seen = _with_zeros(seen, unused)
        dx = tf.reshape(tf.matmul(seen, flat, transpose_b=True), tf.shape(x))
        # The other way round Eigen would pack the larger factor across its rows, and
        # take half as long again.
        d_flat = tf.matmul(seen, tf.reshape(x, [-1, channels_in]), transpose_a=True)
        d_flat = tf.reshape(d_flat[:num_products], [3, 3, channels_out, channels_in])
        return dx, tf.transpose(d_flat, [0, 1, 3, 2])

    if num_products > channels_in:
        return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient
    products = tf.reshape(x, [-1, channels_in]) @ flat
    products = tf.reshape(products, [-1, *_spatial_shape(x), num_products + unused])
    return _sum_of_taps(products, channels_out), gradient


def _with_zeros(x: tf.Tensor, num_columns: int) -> tf.Tensor:
    """`x` with so many columns of zeros at its end."""
    return (
        tf.pad(x, [[0, 0]] * (x.shape.rank - 1) + [[0, num_columns]])
        if num_columns
        else x
    )


def _seen_by_taps(x: tf.Tensor, taps: list[tuple[int, int]] = _TAPS) -> tf.Tensor:
    """What a 3 x 3 kernel sees at each pixel, tap after tap: `[B, H, W, 9 C]`."""
    height, width = _spatial_shape(x)
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    seen = [tf.slice(padded, [0, *at, 0], [-1, height, width, -1]) for at in taps]
    return tf.concat(seen, axis=-1)


def _sum_of_taps(products: tf.Tensor, channels: int) -> tf.Tensor:
    """The sum of what each tap sees of its own product, zeros outside."""
    height, width = _spatial_shape(products)
    seen = []
    for tap, at in enumerate(_TAPS):
        outside = [[max(1 - i, 0), max(i - 1, 0)] for i in at]
        (top, bottom), (left, right) = outside
        size = [-1, height - top - bottom, width - left - right, channels]
        inside = tf.slice(products, [0, bottom, right, tap * channels], size)
        if products.dtype == tf.bfloat16:
            inside = tf.cast(inside, tf.float32)
        seen.append(tf.pad(inside, [[0, 0], *outside, [0, 0]]))
    return tf.cast(tf.add_n(seen), products.dtype)


def _conv_of_few_channels(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """`conv`, where it costs little to give `x` one more channel.

    That channel is -1: what a tap of the edge indicator adds outside the image is added
    everywhere, by the bias, and taken away again where the tap is inside.
    """
    x = tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 1]], constant_values=-1)
    kernel = tf.cast(kernel, x.dtype)
    channels, channels_out = kernel.shape[2:]
    flat = tf.reshape(kernel, [9 * channels, channels_out])
    is_edge = np.arange(9 * channels) % channels == channels - 1
    of_edge = tf.matmul(tf.constant(is_edge[np.newaxis] * 1.0, x.dtype), flat)
    bias = tf.cast(bias, x.dtype) + tf.reshape(of_edge, [channels_out])
    if _is_for_accelerator:
        unused = -9 * channels % _ALIGNMENT
        seen = _with_zeros(_seen_by_taps(x), unused)
        flat = tf.pad(flat, [[0, unused], [0, 0]])
        return _product(seen, flat, bias, activation)
    if 9 * channels > channels_out / 4:
        return activation(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))
    # A product with what the kernel sees of each pixel is faster than a convolution,
    # with oneDNN its gradient with respect to the input most of all. To lay that out as
    # a convolution costs as many operations a pixel as the square of its numbers; with
    # oneDNN that is little.
    if not has_onednn():
        return _product(_seen_by_taps(x), flat, bias, activation)
    each = np.eye(9 * channels, dtype=x.dtype.as_numpy_dtype)
    each = each.reshape(3, 3, channels, 9 * channels)
    return _product(tf.nn.conv2d(x, each, 1, "SAME"), flat, bias, activation)


def _product(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """`activation(x @ kernel + bias)` at each pixel, of a kernel `[..., channels]`."""
    *channels_in, channels_out = kernel.shape
    kernel = tf.reshape(tf.cast(kernel, x.dtype), [prod(channels_in), channels_out])
    flat = tf.reshape(x, [-1, prod(channels_in)]) @ kernel
    flat = tf.nn.bias_add(flat, tf.cast(bias, x.dtype))
    return tf.reshape(activation(flat), [-1, *_spatial_shape(x), channels_out])


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
    taps = [outside[i : i + height, j : j + width] for i, j in _TAPS]
    return reshape(stack(taps, axis=-1), [-1, 9])


def _spatial_shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """Height and width, as numbers where they are known."""
    if None in x.shape[1:3]:
        return tf.unstack(tf.shape(x)[1:3])
    return list(x.shape[1:3])
