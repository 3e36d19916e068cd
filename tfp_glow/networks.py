"""The paper's coupling network, and the convolution of its priors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfp_glow._checks import Parameter
from tfp_glow.convolution import conv

__all__ = [
    "LOG_SCALE_FACTOR",
    "EdgeConv",
    "GlowNetwork",
    "PreparedGlowNetwork",
    "ScaledLinear",
    "standardizing_parameters",
]

LOG_SCALE_FACTOR = 3.0
"""Log-scales are stored divided by this, so that they learn faster (openai/glow)."""


def standardizing_parameters(
    x: tf.Tensor, log_scale_factor: float = LOG_SCALE_FACTOR
) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift and raw log-scale that give each channel of `x` mean 0 and variance 1.

    Args:
        x: `[..., channels]`.
        log_scale_factor: What the raw log-scale is multiplied by when it is used.

    Returns:
        `shift` and `raw_log_scale`, each `[channels]`. A channel that is constant over
        the batch is only shifted: scaling it up would amplify rounding errors.
    """
    axes = list(range(x.shape.rank - 1))
    # As differences from one of its values, a constant channel sums without rounding.
    origin = tf.reshape(x, [-1, x.shape[-1]])[0]
    mean = origin + tf.reduce_mean(x - origin, axes)
    std = tf.sqrt(tf.reduce_mean(tf.square(x - mean), axes))
    is_constant = std <= 1e-6 * tf.abs(mean)
    std = tf.where(is_constant, tf.ones_like(std), std + 1e-6)
    return -mean, -tf.math.log(std) / log_scale_factor


def _scale(raw_log_scale: tf.Tensor) -> tf.Tensor:
    return tf.exp(LOG_SCALE_FACTOR * raw_log_scale)


class _ParameterModule(tf.Module):
    """A module whose parameters are a dictionary: new variables, or given tensors."""

    def __init__(
        self,
        parameters: dict[str, Parameter] | None,
        initial_values: Callable[[], dict[str, tf.Tensor]],
        name: str,
    ) -> None:
        super().__init__(name=name)
        if parameters is None:
            parameters = {
                key: tf.Variable(value, name=f"{name}/{key}")
                for key, value in initial_values().items()
            }
        self.parameters = parameters

    def _tensors(self) -> dict[str, tf.Tensor]:
        return {key: tf.convert_to_tensor(p) for key, p in self.parameters.items()}


class EdgeConv(_ParameterModule):
    """A 3 x 3 convolution that starts at zero: `(W x + bias) * exp(3 raw_log_scale)`.

    It sees an edge indicator besides its input. openai/glow's `conv2d_zeros`, the
    network of a split's prior.

    Shapes:
        input `[B, H, W, channels_in]`, output `[B, H, W, channels_out]`.

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
        parameters: dict[str, Parameter] | None = None,
        dtype: tf.DType = tf.float32,
        name: str = "edge_conv",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels_in: Channels of the input.
            channels_out: Channels of the output.
            parameters: As `initial_parameters` names them.
            dtype: Type of new variables.
            name: Name of the module.
        """
        self.channels_in = channels_in
        self.channels_out = channels_out
        super().__init__(
            parameters,
            lambda: self.initial_parameters(channels_in, channels_out, dtype=dtype),
            name,
        )

    @staticmethod
    def initial_parameters(
        channels_in: int, channels_out: int, *, dtype: tf.DType = tf.float32
    ) -> dict[str, tf.Tensor]:
        """All zeros, so that the output is zero."""
        return {
            "kernel": tf.zeros([3, 3, channels_in + 1, channels_out], dtype),
            "bias": tf.zeros([channels_out], dtype),
            "raw_log_scale": tf.zeros([channels_out], dtype),
        }

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Evaluates the convolution."""
        p = self._tensors()
        return conv(x, p["kernel"], p["bias"]) * _scale(p["raw_log_scale"])


class ScaledLinear(_ParameterModule):
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
        scale = _scale(self.parameters["raw_log_scale"])
        return (product + self.parameters["bias"]) * scale


class GlowNetwork(_ParameterModule):
    """The paper's coupling network: convolutions of size 3, 1 and 3.

    ReLU and act-norm follow the first two; the last starts at zero and has a learned
    scale for each channel. The 3 x 3 convolutions see an edge indicator.

    Shapes:
        input `[B, H, W, channels_in]`, output `[B, H, W, channels_out]`.

    Example:
        >>> GlowNetwork(6, 12, hidden_channels=32)(tf.ones([2, 4, 4, 6])).shape
        TensorShape([2, 4, 4, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 3.3 and Appendix B.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        hidden_channels: int = 512,
        parameters: dict[str, Parameter] | None = None,
        initialized: tf.Variable | None = None,
        seed: int | None = None,
        dtype: tf.DType = tf.float32,
        compute_dtype: tf.DType | None = None,
        name: str = "network",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels_in: Channels of the input.
            channels_out: Channels of the output.
            hidden_channels: Channels of the two hidden layers.
            parameters: As `initial_parameters` names them.
            initialized: Boolean variable: whether data-dependent initialisation has
                happened. Made with the variables.
            seed: Seed of the initial kernels.
            dtype: Type of new variables.
            compute_dtype: Type that the convolutions compute in; the input's when not
                given.
            name: Name of the module.
        """
        self.channels_in = channels_in
        self.channels_out = channels_out
        self.compute_dtype = compute_dtype
        super().__init__(
            parameters,
            lambda: self.initial_parameters(
                channels_in,
                channels_out,
                hidden_channels=hidden_channels,
                rng=np.random.default_rng(seed),
                dtype=dtype,
            ),
            name,
        )
        if parameters is None and initialized is None:
            initialized = tf.Variable(
                False, trainable=False, name=f"{name}/initialized"
            )
        self.initialized = initialized

    @staticmethod
    def initial_parameters(
        channels_in: int,
        channels_out: int,
        *,
        hidden_channels: int,
        batch_shape: Sequence[int] = (),
        rng: np.random.Generator,
        dtype: tf.DType = tf.float32,
    ) -> dict[str, tf.Tensor]:
        """Kernels from N(0, 0.05^2), the last layer zero, act-norms the identity.

        Of one network, or of many, stacked along the axes of `batch_shape`.
        """

        def normal(*shape: int) -> tf.Tensor:
            seed = rng.integers(2**31, size=2)  # NumPy draws on one core
            return tf.random.stateless_normal(
                [*batch_shape, *shape], seed, stddev=0.05, dtype=dtype
            )

        def zeros(*shape: int) -> tf.Tensor:
            return tf.zeros([*batch_shape, *shape], dtype)

        return {
            "kernel_1": normal(3, 3, channels_in + 1, hidden_channels),
            "shift_1": zeros(hidden_channels),
            "raw_log_scale_1": zeros(hidden_channels),
            "kernel_2": normal(1, 1, hidden_channels, hidden_channels),
            "shift_2": zeros(hidden_channels),
            "raw_log_scale_2": zeros(hidden_channels),
            "kernel_3": zeros(3, 3, hidden_channels + 1, channels_out),
            "bias_3": zeros(channels_out),
            "raw_log_scale_3": zeros(channels_out),
        }

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Evaluates the network."""
        prepared = PreparedGlowNetwork.prepare(self._tensors())
        return PreparedGlowNetwork(prepared, self.compute_dtype)(x)

    def standardize(self, x: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Act-norm parameters that standardise both hidden layers on a batch.

        Args:
            x: The batch, `[B, H, W, channels_in]`.

        Returns:
            The parameters, and what the network then makes of the batch.
        """
        p = self._tensors()
        found = {}
        for i in (1, 2):
            kernel = p[f"kernel_{i}"]
            hidden = conv(x, kernel, tf.zeros(kernel.shape[-1:], kernel.dtype))
            shift, raw_log_scale = standardizing_parameters(hidden)
            found |= {f"shift_{i}": shift, f"raw_log_scale_{i}": raw_log_scale}
            x = tf.nn.relu((hidden + shift) * _scale(raw_log_scale))
        scale_3 = _scale(p["raw_log_scale_3"])
        return found, conv(x, p["kernel_3"], p["bias_3"]) * scale_3


@dataclass(frozen=True)
class PreparedGlowNetwork:
    """A `GlowNetwork` as a function of its input alone.

    What depends on the parameters alone has been computed, of many networks at once if
    these are stacked.

    Attributes:
        parameters: What `prepare` returns, of one network.
        compute_dtype: Type that the convolutions compute in; the input's when `None`.
    """

    parameters: dict[str, tf.Tensor]
    compute_dtype: tf.DType | None = None

    @staticmethod
    def prepare(parameters: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The kernels as they are, and all that is small in one vector.

        Args:
            parameters: Those of a `GlowNetwork`, with any leading axes.
        """
        p = parameters
        scales = [_scale(p[f"raw_log_scale_{i}"]) for i in (1, 2, 3)]
        biases = [p["shift_1"] * scales[0], p["shift_2"], p["bias_3"] * scales[2]]
        kernels = {key: p[key] for key in ("kernel_1", "kernel_2", "kernel_3")}
        return kernels | {"vectors": tf.concat([*scales, *biases], axis=-1)}

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Evaluates the network, in the type of its input."""
        p = self.parameters
        sizes = [p[f"kernel_{i}"].shape[-1] for i in (1, 2, 3)]
        scale_1, scale_2, scale_3, *biases = tf.split(p["vectors"], 2 * sizes)
        h = x if self.compute_dtype is None else tf.cast(x, self.compute_dtype)
        h = conv(h, p["kernel_1"] * scale_1, biases[0], activation=tf.nn.relu)
        # A scale is positive and passes through the ReLU. In the last kernel it costs
        # less than in this one, where most of the parameters are.
        h = conv(h, p["kernel_2"], biases[1], activation=tf.nn.relu)
        h = conv(h, p["kernel_3"], biases[2], scales=(scale_2, scale_3))
        return tf.cast(h, x.dtype)
