"""Adamax, the paper's optimizer, as one operation a variable."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["Adamax"]


@keras.saving.register_keras_serializable("tfp_glow")
class Adamax(keras.optimizers.Adamax):
    """`keras.optimizers.Adamax`, computed by one operation for each variable.

    The same arguments, the same slots, the same result. Keras's is a dozen operations
    for each variable, whose temporaries are as large as the variable: in a deep Glow,
    whose steps are stacked, that is a good part of the memory that a training step
    needs, and of the graph that is built before the first.

    Example:
        >>> optimizer = Adamax(1e-3, use_ema=True)
        >>> weights = tf.Variable([1.0, 2.0])
        >>> optimizer.apply([tf.constant([0.5, -0.5])], [weights])
        >>> print(weights.numpy())
        [0.999 2.001]

    References:
        Kingma and Ba. Adam: a method for stochastic optimization. 2015. Section 7.1.
        https://arxiv.org/abs/1412.6980
    """

    def _backend_update_step(
        self, grads: list[Any], trainable_variables: list[Any], learning_rate: Any
    ) -> None:
        """As Keras's, with what all variables share computed once, not for each."""
        dtypes = {tf.as_dtype(variable.dtype) for variable in trainable_variables}
        shared = {dtype.name: self._numbers(learning_rate, dtype) for dtype in dtypes}
        super()._backend_update_step(
            grads, trainable_variables, {"learning_rate": learning_rate, **shared}
        )

    def _numbers(self, learning_rate: Any, dtype: tf.DType) -> dict[str, tf.Tensor]:
        """Those that `ResourceApplyAdaMax` takes, in the type of a variable."""
        beta_1 = tf.cast(self.beta_1, dtype)
        return {
            "beta1_power": tf.pow(beta_1, tf.cast(self.iterations + 1, dtype)),
            "lr": tf.cast(learning_rate, dtype),
            "beta1": beta_1,
            "beta2": tf.cast(self.beta_2, dtype),
            "epsilon": tf.cast(self.epsilon, dtype),
        }

    def update_step(
        self, gradient: Any, variable: Any, learning_rate: tf.Tensor | dict
    ) -> None:
        """Updates one variable and its two slots; Keras calls this.

        Args:
            gradient: Of the variable.
            variable: One that the optimizer was built for.
            learning_rate: Or a dictionary with it and, for each type of variables, what
                they share.
        """
        shared = learning_rate if isinstance(learning_rate, dict) else {}
        learning_rate = shared.get("learning_rate", learning_rate)
        # TensorFlow's operation knows neither sparse gradients nor, on a CPU, bfloat16.
        dtype = tf.as_dtype(variable.dtype)
        if isinstance(gradient, tf.IndexedSlices) or dtype == tf.bfloat16:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdaMax(
            var=_handle(variable),
            m=_handle(self._m[index]),
            v=_handle(self._u[index]),
            grad=tf.cast(gradient, dtype),
            **(shared.get(dtype.name) or self._numbers(learning_rate, dtype)),
        )

    def _update_model_variables_moving_average(self, variables: list[Any]) -> None:
        """As Keras's, which computes momentum and its rest again for each variable."""
        if not self.use_ema:
            return
        is_later = tf.not_equal(self.iterations, 0)
        momentum = {
            dtype: tf.cast(is_later, dtype) * self.ema_momentum
            for dtype in {variable.dtype for variable in variables}
        }
        rest = {dtype: 1 - value for dtype, value in momentum.items()}
        for variable, average in zip(
            variables, self._model_variables_moving_average, strict=True
        ):
            if average is not None:
                old, new = map(tf.convert_to_tensor, (average, variable))
                dtype = variable.dtype
                average.assign(momentum[dtype] * old + rest[dtype] * new)


def _handle(variable: Any) -> tf.Tensor:
    """The resource of a variable, TensorFlow's or Keras's; of a mirrored one, here."""
    if isinstance(variable, keras.Variable):
        variable = variable.value
    return variable.handle
