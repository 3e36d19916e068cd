"""One step of flow: act-norm, a permutation of the channels, a coupling."""

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import check_event
from tfp_glow.bijectors.act_norm_bijector import ActNormBijector
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.bijectors.lu_invertible_conv import LUInvertibleConv, mix_channels
from tfp_glow.bijectors.one_pass import OnePass

tfb = tfp.bijectors

__all__ = [
    "GlowStep",
    "folded_inverse_matrix",
    "folded_log_det",
    "folded_matrix",
    "mix",
    "unmix",
]


class GlowStep(OnePass):
    """One step of flow: act-norm, then a permutation of the channels, then a coupling.

    - Inverse, image to latent:
      z = coupling.inverse(permutation.inverse(act_norm.inverse(x)))
    - Forward, latent to image:
      x = act_norm.forward(permutation.forward(coupling.forward(z)))

    Where the permutation is an `LUInvertibleConv`, act-norm's scale is multiplied into
    its matrix before either touches the image: `(x + shift) @ (diag(scale) W)`.

    Shapes:
        x, z: `[..., H, W, C]`; context, where the coupling has one: `[..., D]` or
        `[..., H, W, D]`.

    Log-determinant, in nats:
        The sum of the three.

    Example:
        >>> step = GlowStep(
        ...     ActNormBijector(12),
        ...     LUInvertibleConv(12),
        ...     GlowAffineCoupling(12, hidden_channels=32),
        ... )
        >>> step.inverse(tf.ones([8, 16, 16, 12])).shape
        TensorShape([8, 16, 16, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Figure 2a and table 1.
    """

    def __init__(
        self,
        act_norm: ActNormBijector,
        permutation: tfb.Bijector,
        coupling: tfb.Bijector,
        *,
        validate_args: bool = False,
        name: str = "glow_step",
    ) -> None:
        """Puts the three together.

        Args:
            act_norm: An `ActNormBijector`.
            permutation: An `LUInvertibleConv`, a `tfb.Permute`, or any bijector of
                `[..., C]`.
            coupling: A coupling, or any bijector of `[..., H, W, C]`.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self.act_norm = act_norm
            self.permutation = permutation
            self.coupling = coupling
            super().__init__(
                forward_min_event_ndims=3,
                dtype=act_norm.dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        part = tfp.util.BatchedComponentProperties(event_ndims=3)
        return {"act_norm": part, "permutation": part, "coupling": part}

    def _inverse_and_log_det(
        self, x: tf.Tensor, **kwargs: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        check_event(x, [None, None, None], self.name)
        if isinstance(self.permutation, LUInvertibleConv):
            # Adding the shift to x and not to the product loses no digits to
            # cancellation where a channel's scale is large.
            matrix = folded_matrix(self.act_norm, self.permutation)
            y = mix(x, self.act_norm.shift, matrix)
            log_det = self._folded_log_det(x)
        else:
            h = self.act_norm.inverse(x)
            y = self.permutation.inverse(h)
            log_det = self.act_norm.inverse_log_det_jacobian(x, 3)
            log_det += self.permutation.inverse_log_det_jacobian(h, 3)
        z = self.coupling.inverse(y, **kwargs)
        return z, log_det + self.coupling.inverse_log_det_jacobian(y, 3, **kwargs)

    def _forward_and_log_det(
        self, z: tf.Tensor, **kwargs: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        check_event(z, [None, None, None], self.name)
        y = self.coupling.forward(z, **kwargs)
        log_det = self.coupling.forward_log_det_jacobian(z, 3, **kwargs)
        if isinstance(self.permutation, LUInvertibleConv):
            matrix = folded_inverse_matrix(self.act_norm, self.permutation)
            x = unmix(y, self.act_norm.shift, matrix)
            log_det -= self._folded_log_det(z)
        else:
            h = self.permutation.forward(y)
            x = self.act_norm.forward(h)
            log_det += self.permutation.forward_log_det_jacobian(y, 3)
            log_det += self.act_norm.forward_log_det_jacobian(h, 3)
        return x, log_det

    def _folded_log_det(self, x: tf.Tensor) -> tf.Tensor:
        """Inverse log-determinant of act-norm and convolution: the same for all x."""
        log_det = folded_log_det(self.act_norm, self.permutation)
        # Summed as TFP does: of a batch of parameters it is [..., 1, 1].
        return tf.reduce_sum(log_det * tf.ones(tf.shape(x)[-3:-1], x.dtype), [-2, -1])

    def _initialize(
        self, x: tf.Tensor, *, only_new: bool, **kwargs: tf.Tensor
    ) -> tf.Tensor:
        """Initialises the parts in turn, and returns what the batch becomes."""
        for part in (self.act_norm, self.permutation):
            x = initialize_bijector(part, x, only_new=only_new)
        return initialize_bijector(self.coupling, x, only_new=only_new, **kwargs)


def folded_matrix(
    act_norm: ActNormBijector, permutation: LUInvertibleConv
) -> tf.Tensor:
    """`diag(scale) W`, `[..., C, C]`: what `mix` multiplies by."""
    return tf.exp(act_norm.log_scale)[..., tf.newaxis] * permutation.matrix()


def folded_inverse_matrix(
    act_norm: ActNormBijector, permutation: LUInvertibleConv
) -> tf.Tensor:
    """The inverse of `folded_matrix`, `[..., C, C]`: what `unmix` multiplies by."""
    scale = tf.exp(-act_norm.log_scale)
    return permutation.inverse_matrix() * scale[..., tf.newaxis, :]


def folded_log_det(
    act_norm: ActNormBijector, permutation: LUInvertibleConv
) -> tf.Tensor:
    """Logarithm of `folded_matrix`'s absolute determinant, `[...]`."""
    log_det = tf.reduce_sum(act_norm.log_scale, axis=-1)
    return log_det + tf.reduce_sum(permutation.log_diag, axis=-1)


def mix(x: tf.Tensor, shift: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """Act-norm and permutation, image to latent.

    Adding the shift to x and not to the product loses no digits to cancellation where a
    channel's scale is large.
    """
    return mix_channels(x + shift, matrix)


def unmix(y: tf.Tensor, shift: tf.Tensor, inverse_matrix: tf.Tensor) -> tf.Tensor:
    """Act-norm and permutation, latent to image: undoes `mix`."""
    return mix_channels(y, inverse_matrix) - shift
