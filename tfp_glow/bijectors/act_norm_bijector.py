"""Activation normalisation: a learned shift and scale for each channel."""

from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import (
    Parameter,
    as_parameter,
    check_event,
    check_positive_integer,
)
from tfp_glow.bijectors.initialize import is_set
from tfp_glow.bijectors.one_pass import OnePass
from tfp_glow.layers import LOG_SCALE_FACTOR
from tfp_glow.networks import standardizing_parameters

__all__ = ["ActNormBijector"]


class ActNormBijector(OnePass):
    """Activation normalisation: shift and scale of each channel.

    - Inverse, image to latent:
      z = (x + shift) * exp(log_scale)
    - Forward, latent to image:
      x = z * exp(-log_scale) - shift

    with `log_scale = log_scale_factor * raw_log_scale`. It starts as the identity;
    `tfp_glow.initialize` sets it so that a batch gets mean 0 and variance 1.

    Shapes:
        x, z: `[..., channels]`.

    Log-determinant, in nats, for each `[..., channels]`:
        `log|det dz/dx| = sum(log_scale)`, hence `H W sum(log_scale)` for an image.

    Example:
        >>> bijector = ActNormBijector(12)
        >>> bijector.inverse(tf.ones([8, 32, 32, 12])).shape
        TensorShape([8, 32, 32, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 3.1. https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        channels: int,
        *,
        shift: Parameter | None = None,
        raw_log_scale: Parameter | None = None,
        initialized: tf.Variable | Callable[[], tf.Variable] | None = None,
        log_scale_factor: float = LOG_SCALE_FACTOR,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "act_norm",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels: Size of the event's last axis.
            shift: Added to `x`, `[..., channels]`. A new variable of zeros when not
                given.
            raw_log_scale: `log_scale / log_scale_factor`, `[..., channels]`. A new
                variable of zeros when not given.
            initialized: Boolean variable: whether data-dependent initialisation has
                happened. Made when neither parameter is given. What returns one, where
                that and the parameters belong to somebody else.
            log_scale_factor: Lets the scale learn faster than the shift;
                openai/glow's learning rates assume 3.
            dtype: Type of new variables.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If `channels` is not a positive integer, or a parameter is for
                another number of channels.
        """
        parameters = dict(locals())
        check_positive_integer("channels", channels)
        with tf.name_scope(name) as name:
            if shift is None and raw_log_scale is None and initialized is None:
                initialized = tf.Variable(False, trainable=False, name="initialized")
            if shift is None:
                shift = tf.Variable(tf.zeros([channels], dtype), name="shift")
            self.shift = as_parameter("shift", shift, [channels], dtype)
            if raw_log_scale is None:
                raw_log_scale = tf.Variable(
                    tf.zeros([channels], self.shift.dtype), name="raw_log_scale"
                )
            self.raw_log_scale = as_parameter(
                "raw_log_scale", raw_log_scale, [channels], dtype
            )
            self.initialized = initialized
            self._channels = channels
            self._log_scale_factor = log_scale_factor
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters.update(
                shift=self.shift,
                raw_log_scale=self.raw_log_scale,
                initialized=initialized,
            )
            super().__init__(
                # TFP sums over height and width.
                forward_min_event_ndims=1,
                is_constant_jacobian=True,
                dtype=self.shift.dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        return {
            "shift": tfp.util.ParameterProperties(event_ndims=1),
            "raw_log_scale": tfp.util.ParameterProperties(event_ndims=1),
        }

    @property
    def log_scale(self) -> tf.Tensor:
        """Logarithm of the scale, `[..., channels]`."""
        return self._log_scale_factor * tf.convert_to_tensor(self.raw_log_scale)

    def _inverse_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = check_event(x, [self._channels], self.name)
        log_scale = self.log_scale
        z = (x + self.shift) * tf.exp(log_scale)
        return z, tf.reduce_sum(log_scale, axis=-1)

    def _forward_and_log_det(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = check_event(z, [self._channels], self.name)
        log_scale = self.log_scale
        x = z * tf.exp(-log_scale) - self.shift
        return x, -tf.reduce_sum(log_scale, axis=-1)

    def _initialize(self, x: tf.Tensor, *, only_new: bool) -> tf.Tensor:
        """Sets the variables from a batch, and returns what it becomes."""
        own = [self.shift, self.raw_log_scale, self.initialized]
        is_own = all(isinstance(value, tf.Variable) for value in own)
        if not is_own or (only_new and is_set(self.initialized)):
            return self.inverse(x)
        x = check_event(x, [self._channels], self.name)
        shift, raw_log_scale = standardizing_parameters(x, self._log_scale_factor)
        self.shift.assign(shift)
        self.raw_log_scale.assign(raw_log_scale)
        self.initialized.assign(True)
        return self._inverse_and_log_det(x)[0]
