"""A level of Glow that is not trained any more: its parameters are constants."""

import tensorflow as tf

from tfp_glow.bijectors.squeezed_steps import PreparedSteps, SqueezedSteps
from tfp_glow.bijectors.step_factory import StepFactory

__all__ = ["MergedGlowLevel"]

_NETWORK = "network/"


class MergedGlowLevel(SqueezedSteps):
    """What `GlowLevel.merged` returns: the same map, and nothing is left to prepare.

    Kept are, of all steps, the matrix that act-norm's scale and the permutation make
    together, its inverse and its determinant, and the paper's networks with their
    scales in the kernels, in the type that they compute in. So no call multiplies,
    inverts or exponentiates parameters of the steps.

    Shapes:
        As of `GlowLevel`.

    Example:
        >>> from tfp_glow.bijectors import GlowLevel
        >>> level = GlowLevel(3, num_steps=4, hidden_channels=32)
        >>> level.merged().inverse(tf.ones([8, 32, 32, 3])).shape
        TensorShape([8, 16, 16, 12])
    """

    is_trained = False
    memory = "stored"
    """As of `GlowLevel`; there is nothing to train."""

    def __init__(
        self,
        factory: StepFactory,
        constants: dict[str, tf.Variable],
        *,
        num_steps: int,
        unroll: bool,
        validate_args: bool = False,
        name: str = "merged_glow_level",
    ) -> None:
        """Takes what `of` makes of prepared steps.

        Args:
            factory: Makes a step's coupling.
            constants: Shifts, matrices and networks of all steps, as variables.
            num_steps: Steps of flow.
            unroll: See `GlowLevel`.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.
        """
        parameters = dict(locals())
        with tf.name_scope(name) as name:
            self.constants = constants
            self.networks = factory.networks  # so that their variables are found
            super().__init__(
                factory,
                num_steps=num_steps,
                unroll=unroll,
                parameters=parameters,
                validate_args=validate_args,
                name=name,
            )

    @classmethod
    def of(
        cls,
        prepared: PreparedSteps,
        factory: StepFactory,
        *,
        num_steps: int,
        unroll: bool,
        name: str,
    ) -> "MergedGlowLevel":
        """Makes variables of prepared steps: a SavedModel then holds them once."""
        values = {
            "shift": prepared.shift,
            "matrix": prepared.matrix(),
            "inverse_matrix": prepared.inverse_matrix(),
            "log_det": prepared.log_det,
        }
        networks = factory.fold_networks(prepared.networks, factory.network_dtype)
        values |= {f"{_NETWORK}{key}": value for key, value in networks.items()}
        constants = {
            key: tf.Variable(value, trainable=False, name=key)
            for key, value in values.items()
        }
        return cls(factory, constants, num_steps=num_steps, unroll=unroll, name=name)

    def prepare(self) -> PreparedSteps:
        """The constants as they are."""
        values = {key: tf.convert_to_tensor(v) for key, v in self.constants.items()}
        return PreparedSteps(
            shift=values["shift"],
            matrix=lambda: values["matrix"],
            inverse_matrix=lambda: values["inverse_matrix"],
            log_det=values["log_det"],
            networks={
                key.removeprefix(_NETWORK): value
                for key, value in values.items()
                if key.startswith(_NETWORK)
            },
        )
