"""Convolutions that see the edge of the image, as openai/glow's do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod

import numpy as np
import tensorflow as tf

from tfp_glow._onednn import has_onednn

__all__ = ["conv", "for_accelerator", "is_for_xla", "never_empty", "relu"]

_ALIGNMENT = 8
"""Of a matrix's rows: 16 bytes of bfloat16, below which products are slow on a GPU.

In the first layer with oneDNN 32 bytes of float32, where others took up to a third
longer.
"""

_NARROW = 256
"""Channels up to which a product of what the kernel sees is for fewer channels yet."""

_FEW = 12
"""Channels up to which a product and its gradients beat oneDNN's convolution.

That takes 16 channels at once.
"""

_TAPS = [(row, column) for row in range(3) for column in range(3)]
_CENTER = 4

_is_for_accelerator = False


@contextmanager
def for_accelerator() -> Iterator[None]:
    """What is traced inside is compiled for an accelerator, whatever this machine has.

    There the convolutions of networks that are wide beside the image's channels are
    products of matrices with aligned rows, to which XLA adds bias and ReLU without
    another pass over memory.
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
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """`activation(convolution(x) + bias)`, in the type of `x`.

    A kernel with one more input channel than `x` has is openai/glow's, with the edge
    indicator last.
    """
    x = tf.convert_to_tensor(x)
    channels_in = x.shape[-1]
    if kernel.shape[2] == channels_in + 1:
        if 0 < channels_in < kernel.shape[3] / 8:
            return _conv_of_few_channels(x, kernel, bias, activation)
        # The gradient of a split is one concatenation, that of two slices is not.
        kernel, of_edge = tf.split(kernel, [channels_in, 1], axis=2)
        of_edge = tf.reshape(of_edge, [9, kernel.shape[-1]])
        edges = tf.matmul(_edge_taps(x, bias.dtype), tf.cast(of_edge, bias.dtype))
        bias += tf.reshape(edges, [1, *_spatial_shape(x), kernel.shape[-1]])
        if channels_in == 0:  # a prior that depends on nothing but the place
            return tf.cast(bias, x.dtype)
    kernel, bias = tf.cast(kernel, x.dtype), tf.cast(bias, x.dtype)
    if kernel.shape[:2] == [1, 1]:
        return _product(x, kernel, bias, activation)
    return activation(_conv_to_few_channels(x, kernel) + bias)


def _conv_to_few_channels(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d`, as a product with its taps where that is faster.

    Convolutions have slow gradients where few channels come out: those of a product
    take a third to three quarters of the time of Eigen's, which TensorFlow has without
    oneDNN. Beside oneDNN's a product and its gradients take 0.3 to 0.7 of the time
    where at most 6 channels come out, 0.8 to 1 where 12 do, and from 28 on more, at
    widths from 256 on; of narrower networks fewer than a twelfth may come out. In 16
    bits the sum of nine products that have been rounded is less exact; an accelerator's
    sum is not rounded again.
    """
    channels_in, channels_out = kernel.shape[2:]
    if _is_for_accelerator:
        most = channels_in / 9
    elif x.dtype.size == 2 or _has_gpu():
        most = 0
    elif _is_onednn_s(x.dtype):
        most = min(channels_in / 12, _FEW)
    else:
        most = 4 * channels_in / 9
    if kernel.shape[:2] == [3, 3] and channels_out <= most:
        return _sum_of_taps(x, kernel)
    return _convolution(x, kernel)


def _convolution(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d` of a kernel whose height and width are odd."""
    if is_for_xla() and not (_is_for_accelerator or _has_gpu()):
        return _convolution_for_xla(x, kernel)
    return tf.nn.conv2d(x, kernel, 1, "SAME")


@tf.custom_gradient
def _convolution_for_xla(x: tf.Tensor, kernel: tf.Tensor) -> tuple:
    """Its gradients are laid out as itself: images `[B, H, W, C]`, kernels HWIO.

    On a CPU XLA lays out TensorFlow's so, which Eigen then computes, but not in a loop:
    there it went through them number by number, and a training step of a level of width
    256 took six times as long.
    """

    def gradient(dy: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        dx = tf.nn.conv2d(dy, turned, 1, "SAME")
        # Channels are in the place of images, and images in that of channels.
        to_kernel = [1, 2, 0, 3]
        images, of_outputs = tf.transpose(x, [3, 1, 2, 0]), tf.transpose(dy, to_kernel)
        around = [[0, 0], *([size // 2] * 2 for size in kernel.shape[:2]), [0, 0]]
        d_kernel = tf.nn.conv2d(images, of_outputs, 1, around)
        return dx, tf.transpose(d_kernel, to_kernel)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient


def _is_onednn_s(dtype: tf.DType) -> bool:
    """Whether oneDNN does the work: not in float64, and not what XLA compiles."""
    return has_onednn() and dtype != tf.float64 and not is_for_xla()


def _has_gpu() -> bool:
    """Whether TensorFlow convolves on a GPU, where no product has been measured."""
    return bool(tf.config.list_physical_devices("GPU"))


def _sum_of_taps(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """`tf.nn.conv2d`, 3 x 3, as products with its taps, shifted and summed."""
    channels_in, channels_out = kernel.shape[2:]
    num_products = 9 * channels_out
    # With this factor transposed the product for its gradient takes two thirds of the
    # time, with Eigen always, with oneDNN where few channels come out; where many do,
    # it takes as long as ever.
    flat = tf.transpose(kernel, [0, 1, 3, 2])
    flat = tf.reshape(flat, [num_products, channels_in])
    unused = _num_unused(num_products, x.dtype) if _is_for_accelerator else 0
    flat = _padded(flat, axis=0, size=unused)
    y = tf.matmul(tf.reshape(x, [-1, channels_in]), flat, transpose_b=True)
    y = tf.reshape(y, [-1, *_spatial_shape(x), num_products + unused])
    if is_for_xla():
        if unused:  # the gradient of a slice takes a while
            y = y[..., :num_products]
        return _sum_of_shifted(y)
    y = _seen_by_own_taps(y, channels_out)
    return tf.reduce_sum(
        tf.reshape(y, [-1, *_spatial_shape(x), 9, channels_out]), axis=3
    )


def _sum_of_shifted(y: tf.Tensor) -> tf.Tensor:
    """The sum of what each tap sees of its own ninth of the channels, by slices."""
    dtype = y.dtype
    if dtype == tf.bfloat16:
        y = tf.cast(y, tf.float32)
    for axis in (1, 2):  # rows of taps, and then the columns of what is left of them
        parts = tf.split(y, 3, axis=-1)
        y = tf.add_n([_shifted(part, axis, tap) for tap, part in enumerate(parts)])
    return tf.cast(y, dtype)


def is_for_xla() -> bool:
    """Whether XLA compiles what is traced: it makes one loop of many slices and pads.

    To TensorFlow each is an operation, and its gradient another ten; but XLA is slow at
    depthwise convolutions on a CPU. The attribute that says so is private: should it be
    gone some day, XLA gets what TensorFlow gets.
    """
    if _is_for_accelerator:
        return True
    graph = tf.compat.v1.get_default_graph()
    while graph is not None:
        context = getattr(graph, "_control_flow_context", None)
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
        graph = getattr(graph, "outer_graph", None)
    return False


def _seen_by_own_taps(x: tf.Tensor, channels: int) -> tf.Tensor:
    """What each tap sees of channels of its own, zeros outside.

    Args:
        x: `[B, H, W, C]`: as many channels for each tap in turn, and what is left.
        channels: Of each tap. What is left stays where it is, as at the center.
    """
    taps = [*np.repeat(range(9), channels)]
    taps += [_CENTER] * (x.shape[-1] - len(taps))
    kernel = np.zeros([3, 3, len(taps), 1])
    for channel, tap in enumerate(taps):
        kernel[(*_TAPS[tap], channel)] = 1
    kernel = tf.constant(kernel, x.dtype)
    return tf.nn.depthwise_conv2d(x, kernel, [1, 1, 1, 1], "SAME")


def _shifted(x: tf.Tensor, axis: int, tap: int) -> tf.Tensor:
    """What a tap of three along an axis sees of `x`, zeros outside."""
    if tap == 1:
        return x
    begin, size, outside = [0] * 4, [-1] * 4, [[0, 0] for _ in range(4)]
    if tap == 0:
        size[axis] = _spatial_shape(x)[axis - 1] - 1
        outside[axis] = [1, 0]
    else:
        begin[axis] = 1
        outside[axis] = [0, 1]
    # The gradient of a slice by name is a pad, which takes a tenth of the time of that
    # of `x[...]`.
    return tf.pad(tf.slice(x, begin, size), outside)


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
    kernel = tf.cast(kernel, x.dtype)
    channels, channels_out = kernel.shape[2:]
    flat = tf.reshape(kernel, [9 * channels, channels_out])
    is_edge = np.arange(9 * channels) % channels == channels - 1
    of_edge = tf.matmul(tf.constant(is_edge[np.newaxis] * 1.0, x.dtype), flat)
    bias = tf.cast(bias, x.dtype) + tf.reshape(of_edge, [channels_out])
    most = channels_out / (18 if channels_out > _NARROW else 36)
    if x.dtype.size > 2 and _is_onednn_s(x.dtype):
        most = min(most, _FEW)
    is_product = channels <= most and not _has_gpu()
    if is_product and not is_for_xla():
        return _product_of_seen(x, flat, bias, activation)
    # `tf.vectorized_map` takes the value that `tf.pad` is given for 0.
    edge = tf.constant(-np.eye(channels)[-1], x.dtype)
    x = tf.pad(x, [[0, 0], [0, 0], [0, 0], [0, 1]]) + edge
    if _is_for_accelerator or is_product:
        for axis in (2, 1):  # the columns of a row of taps, and then the rows
            x = tf.concat([_shifted(x, axis, tap) for tap in range(3)], axis=-1)
        unused = _num_unused(9 * channels, x.dtype)
        x = _padded(x, axis=3, size=unused)
        flat = _padded(flat, axis=0, size=unused)
        return _product(x, flat, bias, activation)
    return activation(_convolution(x, kernel) + bias)


def _product_of_seen(
    x: tf.Tensor,
    flat: tf.Tensor,
    bias: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """`_conv_of_few_channels` as a product with what the kernel sees of each pixel.

    Faster than a convolution where few channels go in, with oneDNN its gradient with
    respect to the input most of all. The bias's gradient is a row of the kernel's, that
    of a channel that is 1.
    """
    num_seen, channels_out = flat.shape
    channels = num_seen // 9  # the edge indicator is the last
    unused = _num_unused(num_seen + 1, x.dtype)
    each = np.zeros([channels, num_seen + 1 + unused])
    each[:, :num_seen] = np.tile(np.eye(channels), [1, 9])
    added = -each[-1]
    added[num_seen] = 1
    each, added = (tf.constant(value, x.dtype) for value in (each[:-1], added))
    seen = _seen_by_own_taps(_product(x, each, added), channels)
    value = tf.stop_gradient(bias)
    zeros = tf.zeros([unused, channels_out], x.dtype)
    flat = tf.concat([flat, (bias - value)[tf.newaxis], zeros], axis=0)
    return _product(seen, flat, value, activation)


def _product(
    x: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    activation: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> tf.Tensor:
    """`activation(x @ kernel + bias)` at each pixel, of a kernel `[..., channels]`."""
    *channels_in, channels_out = kernel.shape
    kernel = tf.cast(kernel, x.dtype)
    if len(channels_in) > 1:
        kernel = tf.reshape(kernel, [prod(channels_in), channels_out])
    flat = tf.reshape(x, [-1, prod(channels_in)]) @ kernel
    flat = tf.nn.bias_add(flat, tf.cast(bias, x.dtype))
    return tf.reshape(activation(flat), [-1, *_spatial_shape(x), channels_out])


def _num_unused(size: int, dtype: tf.DType) -> int:
    """By how many numbers a matrix's rows of a size are lengthened to be aligned."""
    is_faster = _is_for_accelerator or _is_onednn_s(dtype)
    return -size % _ALIGNMENT if is_faster else 0


def _padded(x: tf.Tensor, *, axis: int, size: int) -> tf.Tensor:
    """`x` with as many zeros at an axis's end."""
    if not size:
        return x
    return tf.pad(x, [[0, size if i == axis else 0] for i in range(x.shape.rank)])


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
