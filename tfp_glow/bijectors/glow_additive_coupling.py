"""Additive coupling: half of the channels shifted, given the other half."""

from collections.abc import Callable

import tensorflow as tf

from tfp_glow.bijectors.coupling import Coupling
from tfp_glow.context import ContextShape

__all__ = ["GlowAdditiveCoupling"]


class GlowAdditiveCoupling(Coupling):
    """Additive coupling: one half of the channels is shifted, given the other.

    - Inverse, image to latent:
      z_a = x_a,  z_b = x_b + shift(x_a)
    - Forward, latent to image:
      x_a = z_a,  x_b = z_b - shift(z_a)

    Shapes:
        x, z: `[..., H, W, channels]`.

    Log-determinant:
        `log|det dz/dx| = 0`.

    Example:
        >>> bijector = GlowAdditiveCoupling(12, hidden_channels=32)
        >>> bijector.inverse(tf.ones([8, 16, 16, 12])).shape
        TensorShape([8, 16, 16, 12])

    References:
        Dinh et al. NICE. 2015. Section 3.2. https://arxiv.org/abs/1410.8516
    """

    def __init__(
        self,
        channels: int,
        *,
        network: Callable[[tf.Tensor], tf.Tensor] | None = None,
        hidden_channels: int = 512,
        context_shape: ContextShape = None,
        seed: int | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "glow_additive_coupling",
    ) -> None:
        """Makes or takes the network.

        Args:
            channels: Channels of the event, even.
            network: Maps `[B, H, W, channels / 2]` to the same shape: a Keras layer, a
                `tf.Module`, any callable. The paper's when not given.
            hidden_channels: Width of the paper's network.
            context_shape: `[D]` or `[H, W, D]`, of a context that the network sees
                besides; none when not given. `inverse` and `forward` then take
                `context`, `[..., D]` or `[..., H, W, D]`.
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
            super().__init__(
                channels,
                channels_per_changed=1,
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
        del network_output
        return tf.zeros_like(z_b)

    def _transform_inverse(
        self, x_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return x_b + tf.cast(network_output, x_b.dtype), tf.zeros([], x_b.dtype)

    def _transform_forward(
        self, z_b: tf.Tensor, network_output: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return z_b - tf.cast(network_output, z_b.dtype), tf.zeros([], z_b.dtype)
