"""The convolutions of a Glow's coupling networks, and nothing else."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from subject import Subject

from tfp_glow.convolution import conv, relu

__all__ = ["alone", "forward_alone", "own_alone"]


def alone(*, batch_size: int, dtype: str, **shape: object) -> Subject:
    """Those of a training step: forward, and both gradients of each, as one graph.

    The networks follow one another, as they do in a flow, forward and then back.
    """
    return _subject(batch_size, dtype, shape, _Network)


def forward_alone(*, batch_size: int, dtype: str, **shape: object) -> Subject:
    """Those of sampling, or of a density, as one graph."""
    return _subject(batch_size, dtype, shape, _Network, with_gradients=False)


def own_alone(*, batch_size: int, **shape: object) -> Subject:
    """Those of a training step as tfp_glow computes them, with bias, edge and ReLU."""
    return _subject(batch_size, "float32", shape, _OwnNetwork)


def _subject(
    batch_size: int,
    dtype: str,
    shape: dict,
    make: type["_Network"],
    *,
    with_gradients: bool = True,
) -> Subject:
    networks = [
        make(batch_size, *sizes, tf.as_dtype(dtype)) for sizes in _sizes(**shape)
    ]

    @tf.function(jit_compile=False)
    def call() -> list[tf.Tensor]:
        previous, results = [], []
        for network in networks:
            with tf.control_dependencies(previous):
                previous = [network.forward()]
            results += previous
        for network in reversed(networks if with_gradients else []):
            with tf.control_dependencies(previous):
                previous = network.backward()
            results += previous
        return results

    # Of what comes last: one number, to wait for all.
    def call_and_wait() -> float:
        return float(tf.reshape(call()[-1], [-1])[0])

    kernels = [kernel for network in networks for kernel in network.kernels]
    return Subject(
        call_and_wait,
        len(kernels),
        sum(int(np.prod(kernel.shape)) for kernel in kernels),
        lambda: {
            "flops": sum(n.flops for n in networks) // (1 if with_gradients else 3)
        },
    )


def _sizes(
    event_shape: tuple[int, int, int],
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
) -> Iterator[tuple[int, int, int, int]]:
    """Height, width, channels and hidden channels that each step's coupling sees."""
    height, width, channels = event_shape
    for level in range(1, num_levels + 1):
        for _ in range(num_steps):
            yield (
                height // 2**level,
                width // 2**level,
                channels * 2 ** (level + 1),
                hidden_channels,
            )


class _Network:
    """The three convolutions of one affine coupling; half of the channels go in."""

    def __init__(
        self,
        batch_size: int,
        height: int,
        width: int,
        channels: int,
        hidden_channels: int,
        dtype: tf.DType,
    ) -> None:
        rng = np.random.default_rng(0)

        def normal(*shape: int) -> tf.Variable:
            # A variable: what is constant TensorFlow would compute but once.
            return tf.Variable(tf.cast(rng.normal(scale=0.05, size=shape), dtype))

        layers = [
            (3, channels // 2, hidden_channels),
            (1, hidden_channels, hidden_channels),
            (3, hidden_channels, channels),
        ]
        self.kernels = [normal(size, size, *io) for size, *io in layers]
        self._x = normal(batch_size, height, width, channels // 2)
        self._gradient = normal(batch_size, height, width, channels)
        multiplications = sum(size**2 * i * o for size, i, o in layers)
        # Two operations each, in the forward pass and in two gradients.
        self.flops = 6 * batch_size * height * width * multiplications

    def forward(self) -> tf.Tensor:
        self._inputs = [tf.convert_to_tensor(self._x)]
        for kernel in self.kernels:
            self._inputs.append(tf.nn.conv2d(self._inputs[-1], kernel, 1, "SAME"))
        return self._inputs.pop()

    def backward(self) -> list[tf.Tensor]:
        """Gradients of the kernels, the last one first, and then of the input."""
        arguments = {"strides": [1, 1, 1, 1], "padding": "SAME"}
        gradient, found = tf.convert_to_tensor(self._gradient), []
        for kernel, x in zip(self.kernels[::-1], self._inputs[::-1], strict=True):
            found.append(
                tf.raw_ops.Conv2DBackpropFilter(
                    input=x,
                    filter_sizes=kernel.shape,
                    out_backprop=gradient,
                    **arguments,
                )
            )
            gradient = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape,
                filter=kernel,
                out_backprop=gradient,
                **arguments,
            )
        return [*found, gradient]


class _OwnNetwork(_Network):
    """The same by tfp_glow's convolutions."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        # The first and the last have openai/glow's edge indicator as one more channel.
        self.kernels = [
            kernel
            if kernel.shape[0] == 1
            else tf.Variable(tf.pad(kernel, [[0, 0], [0, 0], [0, 1], [0, 0]]))
            for kernel in self.kernels
        ]

    def forward(self) -> tf.Tensor:
        h = tf.convert_to_tensor(self._x)
        biases = [tf.zeros(kernel.shape[-1:], h.dtype) for kernel in self.kernels]
        self._sources = [*self.kernels[::-1], h]
        with tf.GradientTape() as self._tape:
            self._tape.watch(h)
            for kernel, bias in zip(self.kernels[:2], biases, strict=False):
                h = conv(h, kernel, bias, activation=relu)
            self._output = conv(h, self.kernels[2], biases[2])
        return self._output

    def backward(self) -> list[tf.Tensor]:
        gradient = tf.convert_to_tensor(self._gradient)
        return self._tape.gradient(self._output, self._sources, gradient)
