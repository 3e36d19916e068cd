"""Layers that start at zero, and what they share with the coupling network."""

from collections.abc import Callable

import tensorflow as tf

from tfp_glow._checks import Parameter
from tfp_glow.context import (
    ContextShape,
    joined_if_image,
    map_channels,
    vector_channels,
)
from tfp_glow.convolution import conv, never_empty

__all__ = [
    "LOG_SCALE_FACTOR",
    "EdgeConv",
    "ParameterModule",
    "ScaledLinear",
    "of_vector",
    "scale_of",
]

LOG_SCALE_FACTOR = 3.0
"""Log-scales are stored divided by this, so that they learn faster (openai/glow)."""


def scale_of(raw_log_scale: tf.Tensor) -> tf.Tensor:
    """The scale that a stored logarithm stands for."""
    return tf.exp(LOG_SCALE_FACTOR * raw_log_scale)


def of_vector(context: tf.Tensor, kernel: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """What a context `[B, D]` adds to each pixel: `[B, 1, 1, channels]`."""
    product = tf.cast(context, kernel.dtype) @ kernel
    return tf.cast(product, dtype)[:, tf.newaxis, tf.newaxis, :]


class ParameterModule(tf.Module):
    """A module whose parameters are a dictionary: new variables, or given tensors."""

    def __init__(
        self,
        parameters: dict[str, Parameter] | None,
        initial_values: Callable[[], dict[str, tf.Tensor]],
        name: str,
    ) -> None:
        """Takes the parameters, or makes variables of their initial values."""
        super().__init__(name=name)
        if parameters is None:
            parameters = {
                key: tf.Variable(value, name=f"{name}/{key}")
                for key, value in initial_values().items()
            }
        self.parameters = parameters

    def tensors(self) -> dict[str, tf.Tensor]:
        """The values of the parameters."""
        return {key: tf.convert_to_tensor(p) for key, p in self.parameters.items()}


class EdgeConv(ParameterModule):
    """A 3 x 3 convolution that starts at zero: `(W x + bias) * exp(3 raw_log_scale)`.

    It sees an edge indicator besides its input. openai/glow's `conv2d_zeros`, the
    network of a split's prior. A context that is an image is more of its input, one
    that is a vector adds to its bias.

    Shapes:
        input `[B, H, W, channels_in]`, output `[B, H, W, channels_out]`; context, where
        it has one, `[B, D]` or `[B, H, W, D]`.

    Example:
        >>> EdgeConv(6, 12)(tf.ones([2, 4, 4, 6])).shape
        TensorShape([2, 4, 4, 12])

    References:
        https://github.com/openai/glow, `tfops.py`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        context_shape: ContextShape = None,
        parameters: dict[str, Parameter] | None = None,
        dtype: tf.DType = tf.float32,
        name: str = "edge_conv",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels_in: Channels of the input.
            channels_out: Channels of the output.
            context_shape: `[D]` or `[H, W, D]`, of its context; none when not given.
            parameters: As `initial_parameters` names them.
            dtype: Type of new variables.
            name: Name of the module.
        """
        self.channels_in = channels_in
        self.channels_out = channels_out
        super().__init__(
            parameters,
            lambda: self.initial_parameters(
                channels_in, channels_out, context_shape=context_shape, dtype=dtype
            ),
            name,
        )

    @staticmethod
    def initial_parameters(
        channels_in: int,
        channels_out: int,
        *,
        context_shape: ContextShape = None,
        dtype: tf.DType = tf.float32,
    ) -> dict[str, tf.Tensor]:
        """All zeros, so that the output is zero."""
        channels_in += map_channels(context_shape)
        parameters = {
            "kernel": tf.zeros([3, 3, channels_in + 1, channels_out], dtype),
            "bias": tf.zeros([channels_out], dtype),
            "raw_log_scale": tf.zeros([channels_out], dtype),
        }
        if size := vector_channels(context_shape):
            parameters["kernel_context"] = tf.zeros([size, channels_out], dtype)
        return parameters

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the convolution."""
        return never_empty(self._evaluate)(tf.convert_to_tensor(x), context)

    def _evaluate(self, x: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        p = self.tensors()
        x, vector = joined_if_image(x, context)
        y = conv(x, p["kernel"], p["bias"])
        if vector is not None:
            y += of_vector(vector, p["kernel_context"], y.dtype)
        return y * scale_of(p["raw_log_scale"])


class ScaledLinear(ParameterModule):
    """A linear map that starts at zero: `(x W + bias) * exp(3 raw_log_scale)`.

    openai/glow's `linear_zeros`, for what depends on a class or predicts one.

    Shapes:
        input `[..., channels_in]`, output `[..., channels_out]`.

    Example:
        >>> ScaledLinear(10, 96).of_class([7, 3]).shape
        TensorShape([2, 96])

    References:
        https://github.com/openai/glow, `tfops.py`.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        parameters: dict[str, Parameter] | None = None,
        dtype: tf.DType = tf.float32,
        name: str = "scaled_linear",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels_in: Channels of the input.
            channels_out: Channels of the output.
            parameters: `kernel`, `bias` and `raw_log_scale`.
            dtype: Type of new variables.
            name: Name of the module.
        """
        super().__init__(
            parameters,
            lambda: {
                "kernel": tf.zeros([channels_in, channels_out], dtype),
                "bias": tf.zeros([channels_out], dtype),
                "raw_log_scale": tf.zeros([channels_out], dtype),
            },
            name,
        )

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Evaluates the map."""
        return self._scaled(tf.tensordot(x, self.parameters["kernel"], 1))

    def of_class(self, labels: tf.Tensor) -> tf.Tensor:
        """Evaluates the map on one-hot labels: integers `[...]` below `channels_in`."""
        # Not of the variable itself: `tf.vectorized_map` knows no gather of that.
        kernel = tf.convert_to_tensor(self.parameters["kernel"])
        return self._scaled(tf.gather(kernel, labels))

    def _scaled(self, product: tf.Tensor) -> tf.Tensor:
        scale = scale_of(self.parameters["raw_log_scale"])
        return (product + self.parameters["bias"]) * scale
