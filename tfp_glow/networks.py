"""The paper's coupling network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfp_glow._checks import Parameter, as_rng
from tfp_glow.context import (
    ContextShape,
    joined_if_image,
    map_channels,
    vector_channels,
)
from tfp_glow.convolution import conv, never_empty, relu
from tfp_glow.layers import LOG_SCALE_FACTOR, ParameterModule, of_vector, scale_of

__all__ = ["GlowNetwork", "PreparedGlowNetwork", "standardizing_parameters"]


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
    largest = tf.reduce_max(tf.abs(x - mean), axes)
    # In parts of the largest, whose squares neither overflow nor vanish.
    parts = tf.math.divide_no_nan(x - mean, largest)
    std = largest * tf.sqrt(tf.reduce_mean(tf.square(parts), axes))
    rounding = 8 * np.spacing(np.ones([], x.dtype.as_numpy_dtype))
    is_constant = std <= rounding * tf.abs(mean)
    std = tf.where(is_constant, tf.ones_like(std), std)
    return -mean, -tf.math.log(std) / log_scale_factor


class GlowNetwork(ParameterModule):
    """The paper's coupling network: convolutions of size 3, 1 and 3.

    ReLU and act-norm follow the first two; the last starts at zero and has a learned
    scale for each channel. The 3 x 3 convolutions see an edge indicator. The first sees
    a context: one that is an image as more channels of its input; one that is a vector,
    multiplied by a matrix, in its bias.

    Shapes:
        input `[B, H, W, channels_in]`, output `[B, H, W, channels_out]`; context, where
        it has one, `[B, D]` or `[B, H, W, D]`.

    Example:
        >>> GlowNetwork(6, 12, hidden_channels=32)(tf.ones([2, 4, 4, 6])).shape
        TensorShape([2, 4, 4, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Sections 3.3 and 5.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        hidden_channels: int = 512,
        context_shape: ContextShape = None,
        parameters: dict[str, Parameter] | None = None,
        initialized: tf.Variable | Callable[[], tf.Variable] | None = None,
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
            context_shape: `[D]` or `[H, W, D]`, of its context; none when not given.
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
                context_shape=context_shape,
                rng=as_rng(seed),
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
        context_shape: ContextShape = None,
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

        channels_in += map_channels(context_shape)
        parameters = {
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
        if size := vector_channels(context_shape):
            parameters["kernel_context"] = normal(size, hidden_channels)
        return parameters

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the network."""
        prepared = PreparedGlowNetwork.prepare(self.tensors())
        network = PreparedGlowNetwork(prepared, self.compute_dtype)
        return never_empty(network)(tf.convert_to_tensor(x), context)

    def standardize(
        self, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Act-norm parameters that standardise both hidden layers on a batch.

        Args:
            x: The batch, `[B, H, W, channels_in]`.
            context: Its context, where the network has one.

        Returns:
            The parameters, and what the network then makes of the batch.
        """
        p = self.tensors()
        found = {}
        x, vector = joined_if_image(x, context)
        for i in (1, 2):
            kernel = p[f"kernel_{i}"]
            hidden = conv(x, kernel, tf.zeros(kernel.shape[-1:], kernel.dtype))
            if i == 1 and vector is not None:
                hidden += of_vector(vector, p["kernel_context"], hidden.dtype)
            shift, raw_log_scale = standardizing_parameters(hidden)
            found |= {f"shift_{i}": shift, f"raw_log_scale_{i}": raw_log_scale}
            x = tf.nn.relu((hidden + shift) * scale_of(raw_log_scale))
        scale_3 = scale_of(p["raw_log_scale_3"])
        return found, conv(x, p["kernel_3"], p["bias_3"]) * scale_3


@dataclass(frozen=True)
class PreparedGlowNetwork:
    """A `GlowNetwork` as a function of its input alone.

    What depends on the parameters alone has been computed, of many networks at once if
    these are stacked.

    Attributes:
        parameters: What `prepare` or `fold` returns, of one network.
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
        scales = [scale_of(p[f"raw_log_scale_{i}"]) for i in (1, 2, 3)]
        biases = [p["shift_1"] * scales[0], p["shift_2"], p["bias_3"] * scales[2]]
        kernels = {key: value for key, value in p.items() if key.startswith("kernel")}
        return kernels | {"vectors": tf.concat([*scales, *biases], axis=-1)}

    @staticmethod
    def fold(
        prepared: dict[str, tf.Tensor], dtype: tf.DType | None = None
    ) -> dict[str, tf.Tensor]:
        """The kernels with all scales in them, and the biases in one vector.

        A scale is positive and passes through the ReLU: the second is in the last
        kernel, not in the one before, where most of the parameters are.

        Args:
            prepared: What `prepare` returns.
            dtype: Type of the kernels; what it is when not given.
        """
        p, new = prepared, tf.newaxis
        sizes = [p[f"kernel_{i}"].shape[-1] for i in (1, 2, 3)]
        scales, biases = tf.split(p["vectors"], 2, axis=-1)
        scale_1, scale_2, scale_3 = tf.split(scales, sizes, axis=-1)
        of_edge = tf.ones_like(scale_2[..., :1])  # which is no hidden channel
        scale_2 = tf.concat([scale_2, of_edge], axis=-1)
        scales_3 = scale_2[..., new] * scale_3[..., new, :]
        kernels = {
            "kernel_1": p["kernel_1"] * scale_1[..., new, new, new, :],
            "kernel_2": p["kernel_2"],
            "kernel_3": p["kernel_3"] * scales_3[..., new, new, :, :],
        }
        folded = {
            key: tf.cast(kernel, dtype or kernel.dtype)
            for key, kernel in kernels.items()
        }
        if "kernel_context" in p:
            folded["kernel_context"] = p["kernel_context"] * scale_1[..., new, :]
        return folded | {"biases": biases}

    def __call__(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """Evaluates the network, in the type of its input."""
        p = self.parameters
        if "biases" not in p:
            p = self.fold(p)
        biases = tf.split(p["biases"], [p[f"kernel_{i}"].shape[-1] for i in (1, 2, 3)])
        h = x if self.compute_dtype is None else tf.cast(x, self.compute_dtype)
        h, vector = joined_if_image(h, context)
        if vector is not None:
            h = conv(h, p["kernel_1"], biases[0])
            h = relu(h + of_vector(vector, p["kernel_context"], h.dtype))
        else:
            h = conv(h, p["kernel_1"], biases[0], activation=relu)
        h = conv(h, p["kernel_2"], biases[1], activation=relu)
        h = conv(h, p["kernel_3"], biases[2])
        return tf.cast(h, x.dtype)
