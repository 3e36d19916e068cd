"""Squeeze: pixels of a neighbourhood become channels."""

import tensorflow as tf

from tfp_glow._checks import check_event, check_positive_integer
from tfp_glow.bijectors.flat_batch import apply_to_flat_batch
from tfp_glow.bijectors.one_pass import OnePass

__all__ = ["Squeeze"]


class Squeeze(OnePass):
    """Squeeze: neighbouring pixels become channels.

    - Inverse, image to latent:
      z[h, w, c * f * f + dy * f + dx] = x[h * f + dy, w * f + dx, c]
    - Forward, latent to image: the other way round

    with `f = factor`. It only moves numbers.

    Shapes:
        x: `[..., H, W, C]`; z: `[..., H / f, W / f, C f f]`.

    Log-determinant:
        `log|det dz/dx| = 0`.

    Example:
        >>> Squeeze().inverse(tf.ones([8, 32, 32, 3])).shape
        TensorShape([8, 16, 16, 12])

    References:
        Dinh et al. Density estimation using Real NVP. 2017. Section 3.6.
        https://arxiv.org/abs/1605.08803
    """

    def __init__(
        self, factor: int = 2, *, validate_args: bool = False, name: str = "squeeze"
    ) -> None:
        """Makes the bijector.

        Args:
            factor: Height and width of a neighbourhood.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If `factor` is not a positive integer.
        """
        parameters = dict(locals())
        check_positive_integer("factor", factor)
        with tf.name_scope(name) as name:
            self._factor = factor
            super().__init__(
                forward_min_event_ndims=3,
                is_constant_jacobian=True,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @property
    def _is_permutation(self) -> bool:
        return True  # so that a `tfd.TransformedDistribution` knows `stddev`

    def _inverse_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        check_event(x, [None, None, None], self.name)
        self._inverse_event_shape(x.shape[-3:])  # raises where it does not divide
        return apply_to_flat_batch(self._squeeze, x), tf.zeros([], x.dtype)

    def _forward_and_log_det(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        check_event(z, [None, None, None], self.name)
        self._forward_event_shape(z.shape[-3:])
        return apply_to_flat_batch(self._unsqueeze, z), tf.zeros([], z.dtype)

    def _squeeze(self, x: tf.Tensor) -> tf.Tensor:
        f = self._factor
        # With -1 for the batch, a size that does not divide could pass unnoticed.
        batch, height, width, channels = _shape(x)
        x = tf.reshape(x, [batch, height // f, f, width // f, f, channels])
        x = tf.transpose(x, [0, 1, 3, 5, 2, 4])  # [B, H / f, W / f, C, f, f]
        return tf.reshape(x, [batch, height // f, width // f, channels * f * f])

    def _unsqueeze(self, z: tf.Tensor) -> tf.Tensor:
        f = self._factor
        batch, height, width, channels = _shape(z)
        z = tf.reshape(z, [batch, height, width, channels // (f * f), f, f])
        z = tf.transpose(z, [0, 1, 4, 2, 5, 3])  # [B, H, f, W, f, C / (f f)]
        return tf.reshape(z, [batch, height * f, width * f, channels // (f * f)])

    def _inverse_event_shape(self, x_shape: tf.TensorShape) -> tf.TensorShape:
        f = self._factor
        leading, (height, width, channels) = _split_shape(x_shape)
        if (height or 0) % f or (width or 0) % f:
            raise ValueError(
                f"`Squeeze` with `factor`={f} needs height and width divisible by {f}. "
                f"Received: event_shape={tuple(x_shape)}. Pad or crop the images."
            )
        return tf.TensorShape(
            [
                *leading,
                height and height // f,
                width and width // f,
                channels and channels * f * f,
            ]
        )

    def _forward_event_shape(self, z_shape: tf.TensorShape) -> tf.TensorShape:
        f = self._factor
        leading, (height, width, channels) = _split_shape(z_shape)
        if (channels or 0) % (f * f):
            raise ValueError(
                f"`Squeeze` with `factor`={f} makes channels divisible by {f * f}. "
                f"Received: a latent of event_shape={tuple(z_shape)}."
            )
        return tf.TensorShape(
            [
                *leading,
                height and height * f,
                width and width * f,
                channels and channels // f**2,
            ]
        )

    def _inverse_event_shape_tensor(self, x_shape: tf.Tensor) -> tf.Tensor:
        f = self._factor
        height, width, channels = tf.unstack(x_shape[-3:])
        event_shape = [height // f, width // f, channels * f * f]
        return tf.concat([x_shape[:-3], event_shape], axis=0)

    def _forward_event_shape_tensor(self, z_shape: tf.Tensor) -> tf.Tensor:
        f = self._factor
        height, width, channels = tf.unstack(z_shape[-3:])
        event_shape = [height * f, width * f, channels // (f * f)]
        return tf.concat([z_shape[:-3], event_shape], axis=0)


def _split_shape(
    shape: tf.TensorShape,
) -> tuple[list[int | None], list[int | None]]:
    """Leading dimensions, and height, width and channels."""
    if shape.rank is None:
        return [], [None] * 3
    if shape.rank < 3:
        raise ValueError(
            "`Squeeze` needs the shape of an image, [..., height, width, channels]. "
            f"Received: event_shape={tuple(shape)}."
        )
    sizes = shape.as_list()
    return sizes[:-3], sizes[-3:]


def _shape(x: tf.Tensor) -> list[int | tf.Tensor]:
    """The shape, as numbers where they are known."""
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]
