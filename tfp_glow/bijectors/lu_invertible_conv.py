"""The invertible 1 x 1 convolution, its matrix kept as an LU decomposition."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._checks import (
    Parameter,
    as_parameter,
    as_rng,
    check_event,
    check_positive_integer,
)
from tfp_glow.bijectors.one_pass import OnePass

__all__ = ["LUInvertibleConv"]


class LUInvertibleConv(OnePass):
    """Invertible 1 x 1 convolution: one learned matrix mixes the channels.

    - Inverse, image to latent:
      z = x @ W
    - Forward, latent to image:
      x = z @ W^-1

    with `W = P L (U + diag(sign * exp(log_diag)))`, where L is lower triangular with
    ones on its diagonal, U is strictly upper triangular, and the permutation P and the
    signs stay as they are. W is invertible whatever values the variables take. It
    starts as a random rotation.

    Shapes:
        x, z: `[..., channels]`.

    Log-determinant, in nats, for each `[..., channels]`:
        `log|det dz/dx| = sum(log_diag)`, hence `H W sum(log_diag)` for an image.

    Example:
        >>> bijector = LUInvertibleConv(12, seed=0)
        >>> bijector.inverse(tf.ones([8, 32, 32, 12])).shape
        TensorShape([8, 32, 32, 12])

    References:
        Kingma and Dhariwal. Glow. 2018. Section 3.2, equation 10.
        https://arxiv.org/abs/1807.03039
    """

    def __init__(
        self,
        channels: int,
        *,
        seed: int | None = None,
        lower: Parameter | None = None,
        upper: Parameter | None = None,
        log_diag: Parameter | None = None,
        sign: Parameter | None = None,
        permutation: Parameter | None = None,
        dtype: tf.DType = tf.float32,
        validate_args: bool = False,
        name: str = "lu_invertible_conv",
    ) -> None:
        """Creates the variables, or takes the parameters that are given.

        Args:
            channels: Size of the event's last axis.
            seed: Seed of the initial rotation; drawn from Python's `random` when not
                given, so that `keras.utils.set_random_seed` decides.
            lower: `[..., channels, channels]`; only what is below the diagonal counts.
            upper: `[..., channels, channels]`; only what is above the diagonal counts.
            log_diag: Logarithm of the diagonal's absolute values, `[..., channels]`.
            sign: Signs of the diagonal, `[..., channels]`; not trained.
            permutation: The matrix P, `[..., channels, channels]`; not trained.
            dtype: Type of new variables.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.

        Raises:
            ValueError: If `channels` is not a positive integer, if a parameter is for
                another number of channels, or if only some of the five are given.
        """
        parameters = dict(locals())
        check_positive_integer("channels", channels)
        given = {
            "lower": lower,
            "upper": upper,
            "log_diag": log_diag,
            "sign": sign,
            "permutation": permutation,
        }
        missing = [key for key, value in given.items() if value is None]
        if missing and len(missing) < len(given):
            raise ValueError(
                "`lower`, `upper`, `log_diag`, `sign` and `permutation` are parts of "
                f"one matrix: give all five or none. Received: no {', '.join(missing)}."
            )
        with tf.name_scope(name) as name:
            if missing:
                rng = as_rng(seed)
                given = {
                    key: tf.Variable(
                        value, trainable=key not in ("sign", "permutation"), name=key
                    )
                    for key, value in self.initial_parameters(
                        channels, rng=rng, dtype=dtype
                    ).items()
                }
            vectors = ("log_diag", "sign")
            given = {
                key: as_parameter(
                    key,
                    value,
                    [channels] if key in vectors else [channels, channels],
                    dtype,
                )
                for key, value in given.items()
            }
            self.lower = given["lower"]
            self.upper = given["upper"]
            self.log_diag = given["log_diag"]
            self.sign = given["sign"]
            self.permutation = given["permutation"]
            self._channels = channels
            # `copy` builds from `parameters`: without this a copy is untrained.
            parameters.update(given)
            super().__init__(
                # TFP sums over height and width.
                forward_min_event_ndims=1,
                is_constant_jacobian=True,
                dtype=self.lower.dtype,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @staticmethod
    def initial_parameters(
        channels: int, *, rng: np.random.Generator, dtype: tf.DType = tf.float32
    ) -> dict[str, tf.Tensor]:
        """The decomposition of a random rotation.

        Args:
            channels: Size of the matrix.
            rng: Source of randomness.
            dtype: Type of the tensors.

        Returns:
            A dictionary of the constructor's five parameters.
        """
        rotation, _ = np.linalg.qr(rng.normal(size=[channels, channels]))
        return LUInvertibleConv.decompose(rotation, dtype=dtype)

    @staticmethod
    def decompose(
        matrix: np.ndarray, *, dtype: tf.DType = tf.float32
    ) -> dict[str, tf.Tensor]:
        """Parameters with which this bijector's `W` is a given matrix.

        Args:
            matrix: An invertible matrix, `[channels, channels]`.
            dtype: Type of the tensors.

        Returns:
            A dictionary of the constructor's five parameters.

        Example:
            >>> matrix = np.array([[0.0, 2.0], [1.0, 3.0]])
            >>> parts = LUInvertibleConv.decompose(matrix)
            >>> LUInvertibleConv(2, **parts).matrix().numpy().tolist()
            [[0.0, 2.0], [1.0, 3.0]]
        """
        with tf.init_scope():
            lu, order = tf.linalg.lu(tf.constant(matrix, tf.float64))
        diag = np.diag(lu)
        parts = {
            "lower": np.tril(lu, -1),
            "upper": np.triu(lu, 1),
            "log_diag": np.log(np.abs(diag)),
            "sign": np.sign(diag),
            "permutation": np.eye(len(diag))[:, order],
        }
        return {key: tf.constant(value, dtype) for key, value in parts.items()}

    @staticmethod
    def of_permutation(permutation: tf.Tensor) -> dict[str, tf.Tensor]:
        """Parameters with which this bijector's `W` is a permutation matrix.

        Args:
            permutation: `[..., channels, channels]`.

        Returns:
            A dictionary of the constructor's five parameters.
        """
        triangle = tf.zeros_like(permutation)
        zeros = tf.zeros_like(permutation[..., 0])
        return {
            "lower": triangle,
            "upper": triangle,
            "log_diag": zeros,
            "sign": tf.ones_like(zeros),
            "permutation": permutation,
        }

    @classmethod
    def _parameter_properties(
        cls, dtype: tf.DType, num_classes: int | None = None
    ) -> dict[str, tfp.util.ParameterProperties]:
        matrix = tfp.util.ParameterProperties(event_ndims=2)
        vector = tfp.util.ParameterProperties(event_ndims=1)
        return {
            "lower": matrix,
            "upper": matrix,
            "log_diag": vector,
            "sign": vector,
            "permutation": matrix,
        }

    def _parameter_control_dependencies(self, is_init: bool) -> list[tf.Operation]:
        """Checks what is not trained: tensors when they are given, variables in use."""
        is_variable = isinstance(self.sign, tf.Variable | tfp.util.DeferredTensor)
        if not self.validate_args or is_init == is_variable:
            return []
        sign, permutation = map(tf.convert_to_tensor, (self.sign, self.permutation))
        ones = tf.ones_like(sign)
        return [
            tf.debugging.assert_equal(
                tf.abs(sign), ones, message="`sign` must hold 1 and -1."
            ),
            *(
                tf.debugging.assert_equal(
                    tf.reduce_sum(value, axis),
                    ones,
                    message="`permutation` must be a permutation matrix.",
                )
                for value in (permutation, tf.square(permutation))
                for axis in (-2, -1)
            ),
        ]

    def _triangles(self) -> tuple[tf.Tensor, tf.Tensor]:
        """L with ones on its diagonal, and U with its own."""
        lower = tf.convert_to_tensor(self.lower)
        upper = tf.convert_to_tensor(self.upper)
        diag = self.sign * tf.exp(self.log_diag)
        lower = tf.linalg.set_diag(
            tf.linalg.band_part(lower, -1, 0), tf.ones_like(diag)
        )
        return lower, tf.linalg.set_diag(tf.linalg.band_part(upper, 0, -1), diag)

    def matrix(self) -> tf.Tensor:
        """W, `[..., channels, channels]`."""
        lower, upper = self._triangles()
        return tf.convert_to_tensor(self.permutation) @ lower @ upper

    def inverse_matrix(self) -> tf.Tensor:
        """W^-1 by two triangular solves, `[..., channels, channels]`."""
        lower, upper = self._triangles()
        transposed = tf.linalg.matrix_transpose(self.permutation)
        return tf.linalg.triangular_solve(
            upper, tf.linalg.triangular_solve(lower, transposed), lower=False
        )

    def _inverse_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = check_event(x, [self._channels], self.name)
        log_det = tf.reduce_sum(self.log_diag, axis=-1)
        return mix_channels(x, self.matrix()), log_det

    def _forward_and_log_det(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        z = check_event(z, [self._channels], self.name)
        log_det = -tf.reduce_sum(self.log_diag, axis=-1)
        return mix_channels(z, self.inverse_matrix()), log_det


def mix_channels(x: tf.Tensor, matrix: tf.Tensor) -> tf.Tensor:
    """`x @ matrix` on the last axis.

    Args:
        x: `[..., channels]`.
        matrix: `[..., channels, channels]`.
    """
    if matrix.shape.rank == 2:
        return tf.tensordot(x, matrix, 1)
    return tf.linalg.matvec(matrix, x, transpose_a=True)
