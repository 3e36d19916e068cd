"""Dequantisation with learned noise: a small flow that sees the image."""

from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_event_shape
from tfp_glow.bijectors import GlowLevel, Squeeze
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.bijectors.merged_glow_level import MergedGlowLevel
from tfp_glow.context import context_shape_at
from tfp_glow.dequantization import (
    PHILOX,
    Seed,
    bin_centers,
    counter_of_image,
    dequantize,
)

tfd = tfp.distributions

__all__ = ["VariationalDequantizer"]

_LARGEST = 1 - 2.0**-16
"""Of the noise: with a bin's number it still fills no more than float32's 24 bits."""


class VariationalDequantizer(tf.Module):
    """Noise within the bins of discrete images, from a flow conditioned on the image.

    Uniform noise asks of a model that its density be flat within each bin. Learned
    noise u in [0, 1) of density q(u | image) may go where the model puts its density:

        log P(image) >= E[log p(x) - log q(u | image)] + log(volume of a bin),

    where x is the image with u, and the mean of k samples under the logarithm is a
    tighter bound. The noise is `Phi(f(e, image))` with e from a standard normal, f one
    level of `num_steps` steps of Glow whose couplings see the image, and Phi the
    normal's cumulative distribution function. It starts as uniform noise.

    Shapes:
        images: `uint8` `[B, H, W, C]`; continuous images `[B, H, W, C]`; log q `[B]`,
        in nats.

    Example:
        >>> dequantizer = VariationalDequantizer([8, 8, 1], hidden_channels=8)
        >>> images = tf.zeros([5, 8, 8, 1], tf.uint8)
        >>> x, log_q = dequantizer(images, seed=0)
        >>> x.shape, log_q.shape
        (TensorShape([5, 8, 8, 1]), TensorShape([5]))

    References:
        Ho et al. Flow++: Improving flow-based generative models with variational
        dequantization and architecture design. 2019. Section 3.1.
        https://arxiv.org/abs/1902.00275
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        num_bits: int = 8,
        num_steps: int = 4,
        hidden_channels: int = 32,
        seed: int | None = None,
        level: GlowLevel | MergedGlowLevel | None = None,
        dtype: tf.DType = tf.float32,
        name: str = "dequantizer",
    ) -> None:
        """Makes the flow, or takes one that there is.

        Args:
            event_shape: Shape of an image, `[H, W, C]`; H and W even.
            num_bits: How many of an image's 8 bits are modelled, the highest ones.
            num_steps: Steps of the flow.
            hidden_channels: Width of its coupling networks.
            seed: Seed of its initial values.
            level: The flow, when it exists already.
            dtype: Type of its variables, and of the continuous images.
            name: Name of the module.

        Raises:
            ValueError: If height or width is odd, or a count is not a positive integer.
        """
        super().__init__(name=name)
        height, width, channels = check_event_shape(event_shape, 1)
        self._event_shape = (height, width, channels)
        self._num_bits = num_bits
        self._normal = tfd.Normal(tf.zeros([], dtype), 1.0)
        # Scales that start at 1, so that normal noise goes through as it is.
        self.level = level or GlowLevel(
            channels,
            num_steps=num_steps,
            hidden_channels=hidden_channels,
            scale="bounded",
            context_shape=context_shape_at(self._event_shape, 2),
            seed=seed,
            dtype=dtype,
            name=name,
        )

    def __call__(
        self,
        images: tf.Tensor,
        seed: Seed | None = None,
        *,
        normals: tf.Tensor | None = None,
        first_image: int | tf.Tensor = 0,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds noise to the bins of discrete images.

        Args:
            images: `uint8` `[B, H, W, C]`.
            seed: Seed of the noise; new noise each time when not given.
            normals: What the flow makes the noise of instead of drawing it,
                `[H, W, C]` for all images or `[B, H, W, C]`.
            first_image: Number of the first image in a larger batch, see `dequantize`.

        Returns:
            Continuous images in `[-0.5, 0.5)`, and the noise's log-density.
        """
        if normals is None:
            normals = self._draw(images, seed, first_image)
        normals = tf.broadcast_to(normals, tf.shape(images))
        context = self._context(images)
        y = self.level.inverse(normals, context=context)  # [B, H/2, W/2, 4C]
        log_det = self.level.inverse_log_det_jacobian(normals, 3, context=context)
        y = Squeeze().forward(y)  # [B, H, W, C]
        noise = tf.minimum(self._normal.cdf(y), _LARGEST)
        log_q = tf.reduce_sum(
            self._normal.log_prob(normals) - self._normal.log_prob(y), axis=[1, 2, 3]
        )
        x = dequantize(images, self._num_bits, noise=noise, dtype=normals.dtype)
        return x, log_q - log_det

    def initialize(self, images: tf.Tensor, seed: Seed | None = None) -> None:
        """Data-dependent initialisation, of whatever has not had it.

        Args:
            images: A batch, `uint8` `[B, H, W, C]`.
            seed: Seed of the noise.
        """
        normals = self._draw(images, seed, first_image=0)
        context = self._context(images)
        initialize_bijector(self.level, normals, only_new=True, context=context)

    def merged(self) -> "VariationalDequantizer":
        """The same noise, of what the variables are now, for use without training."""
        return VariationalDequantizer(
            self._event_shape,
            num_bits=self._num_bits,
            level=self.level.merged(),
            dtype=self.level.dtype,
            name=self.name,
        )

    def _draw(
        self, images: tf.Tensor, seed: Seed | None, first_image: int | tf.Tensor
    ) -> tf.Tensor:
        dtype, shape = self.level.dtype, tf.shape(images)
        key, counter = counter_of_image(first_image, shape, seed, dtype)
        return tf.raw_ops.StatelessRandomNormalV2(
            shape=shape, key=key, counter=counter, alg=PHILOX, dtype=dtype
        )

    def _context(self, images: tf.Tensor) -> tf.Tensor:
        return bin_centers(images, self._num_bits, dtype=self.level.dtype)
