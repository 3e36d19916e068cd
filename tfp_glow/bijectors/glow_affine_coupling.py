"""Affine coupling: half of the channels shifted and scaled, given the other half."""

from collections.abc import Callable

import tensorflow as tf

from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.context import ContextShape

__all__ = ["GlowAffineCoupling", "bounded_log_scale", "sigmoid_log_scale"]


def sigmoid_log_scale(raw: tf.Tensor) -> tf.Tensor:
    """`log(sigmoid(raw + 2))`, openai/glow's scale: below 1, and 0.88 at the start."""
    return tf.math.log_sigmoid(raw + 2.0)


def bounded_log_scale(raw: tf.Tensor, bound: float = 0.25) -> tf.Tensor:
    """`bound * tanh(raw / bound)`: a scale of 1 at the start, and never far from it.

    Where `sigmoid_log_scale` is given something that it has not seen in training, its
    scale may come out as small as exp(-100). To sample is to divide by it.
    """
    return bound * tf.tanh(raw / bound)


class GlowAffineCoupling(Coupling):
    """Affine coupling: one half of the channels is shifted and scaled, given the other.

    - Inverse, image to latent:
      z_a = x_a,  z_b = (x_b + shift(x_a)) * scale(x_a)
    - Forward, latent to image:
      x_a = z_a,  x_b = z_b / scale(z_a) - shift(z_a)

    The network returns `[shift, raw]`, one after the other on the last axis, and
    `scale = exp(log_scale_fn(raw))`.

    Shapes:
        x, z: `[..., H, W, channels]`.

    Log-determinant, in nats:
        `log|det dz/dx| = sum(log(scale(x_a)))`.

    Example:
        >>> bijector = GlowAffineCoupling(12, hidden_channels=32)
        >>> bijector.inverse(tf.ones([8, 16, 16, 12])).shape
        TensorShape([8, 16, 16, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 3.3. https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        channels: int,
        *,
        network: Callable[[tf.Tensor], tf.Tensor] | None = None,
        hidden_channels: int = 512,
        context_shape: ContextShape = None,
        log_scale_fn: Callable[[tf.Tensor], tf.Tensor] = sigmoid_log_scale,
        seed: int | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "glow_affine_coupling",
    ) -> None:
        """Makes or takes the network.

        Args:
            channels: Channels of the event, even.
            network: Maps `[B, H, W, channels / 2]` to `[B, H, W, channels]`: a Keras
                layer, a `tf.Module`, any callable. The paper's when not given.
            hidden_channels: Width of the paper's network.
            context_shape: `[D]` or `[H, W, D]`, of a context that the network sees
                besides; none when not given. `inverse` and `forward` then take
                `context`, `[..., D]` or `[..., H, W, D]`.
            log_scale_fn: Maps the network's raw output to the logarithm of the scale:
                `tf.identity` makes the scale its exponential, `bounded_log_scale` keeps
                it near 1.
            seed: Seed of the paper's network.
            dtype: Type of new variables, and of the events.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            TypeError: If `network` is not callable.
            ValueError: If `channels` is odd, or `network` returns the wrong number of
                channels or has variables that cannot be found.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self._log_scale_fn = log_scale_fn
            super().__init__(
                channels,
                channels_per_changed=2,
                network=network,
                hidden_channels=hidden_channels,
                context_shape=context_shape,
                seed=seed,
                dtype=dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    def _log_scale(self, z_b: tf.Tensor, network_output: tf.Tensor) -> tf.Tensor:
        return self._shift_and_log_scale(network_output, z_b.dtype)[1]

    def _shift_and_log_scale(
        self, network_output: tf.Tensor, dtype: tf.DType
    ) -> tuple[tf.Tensor, tf.Tensor]:
        shift, raw = tf.split(network_output, 2, axis=-1)
        return tf.cast(shift, dtype), tf.cast(self._log_scale_fn(raw), dtype)

    def _transform_inverse(
        self, x_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        shift, log_scale = self._shift_and_log_scale(network_output, x_b.dtype)
        log_det = tf.reduce_sum(log_scale, axis=[-3, -2, -1])
        return (x_b + shift) * tf.exp(log_scale), log_det

    def _transform_forward(
        self, z_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        shift, log_scale = self._shift_and_log_scale(network_output, z_b.dtype)
        log_det = -tf.reduce_sum(log_scale, axis=[-3, -2, -1])
        return z_b * tf.exp(-log_scale) - shift, log_det
