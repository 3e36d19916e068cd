"""A squeeze and steps of flow, whether their parameters are trained or constants."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from tfp_glow._checks import check_event
from tfp_glow.bijectors.flat_batch import apply_to_flat_batch
from tfp_glow.bijectors.one_pass import ShapedByPart
from tfp_glow.bijectors.squeeze import Squeeze
from tfp_glow.bijectors.step_factory import StepFactory
from tfp_glow.bijectors.step_sequence import StepSequence
from tfp_glow.context import context_at
from tfp_glow.convolution import never_empty

__all__ = ["STATE", "PreparedSteps", "SqueezedSteps"]

STATE = tf.float64
"""What an image is between the steps of a level, whatever the networks compute in.

An image is small beside the hidden layers of the networks, and so this costs about 1%
of a float32 training step on a CPU. It makes what is rebuilt from an output what it
was, to the last bit that a network sees. Rounded to float32 it would now and then fall
on the other side of a ReLU's edge, and rebuilt gradients would differ by percents from
stored ones. So they still might in deep levels under XLA, should it round a network in
two ways.
"""


class PreparedSteps(NamedTuple):
    """All steps of a level, as far as they depend on the parameters alone.

    Act-norm's scale and the permutation are one matrix for each step. It and its
    inverse are functions, so that nobody computes what is not needed: training inverts
    nothing.

    Attributes:
        shift: Of the act-norms, `[K, C]`.
        matrix: Gives the matrices, image to latent, `[K, C, C]`.
        inverse_matrix: Gives their inverses, latent to image, `[K, C, C]`.
        log_det: Logarithm of the absolute determinant of all matrices together, `[]`.
        networks: What the couplings need, stacked.
    """

    shift: tf.Tensor
    matrix: Callable[[], tf.Tensor]
    inverse_matrix: Callable[[], tf.Tensor]
    log_det: tf.Tensor
    networks: dict[str, tf.Tensor]


class SqueezedSteps(ShapedByPart):
    """A squeeze, then steps of flow: what a level does with images.

    A subclass says by `prepare` what its steps are.
    """

    memory = "stored"
    is_trained = True
    """Whether gradients with respect to the prepared tensors are wanted."""

    def __init__(
        self,
        factory: StepFactory,
        *,
        num_steps: int,
        unroll: bool,
        parameters: dict[str, object],
        validate_args: bool,
        name: str,
    ) -> None:
        """Takes what the steps have in common.

        Args:
            factory: Makes a step's coupling.
            num_steps: Steps of flow, K in the paper.
            unroll: Whether the steps follow one another in the graph, or run as one
                loop; networks with variables of their own always do.
            parameters: Arguments of the subclass.
            validate_args: Whether to check values at run time.
            name: Name of the bijector.
        """
        self._factory = factory
        self._num_steps = num_steps
        self._unroll = unroll or factory.networks is not None
        self._squeeze = Squeeze()
        super().__init__(
            forward_min_event_ndims=3,
            dtype=factory.dtype,
            parameters=parameters,
            validate_args=validate_args,
            name=name,
        )

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return self._num_steps

    def prepare(self) -> PreparedSteps:
        """What depends on the parameters alone."""
        raise NotImplementedError

    def _inverse_and_log_det(
        self, x: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        x = check_event(x, [None, None, self._factory.channels // 4], self.name)
        return self._run(self._squeeze.inverse(x), context, is_inverse=True)

    def _forward_and_log_det(
        self, z: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        z = check_event(z, [None, None, self._factory.channels], self.name)
        x, log_det = self._run(z, context, is_inverse=False)
        return self._squeeze.forward(x), log_det  # [..., H, W, C]

    def _run(
        self, x: tf.Tensor, context: tf.Tensor | None, *, is_inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """All steps in one direction, on squeezed images."""
        prepared = self.prepare()
        matrix, inverse_matrix = prepared.matrix, prepared.inverse_matrix
        log_det = prepared.log_det
        if not is_inverse:
            matrix, inverse_matrix = inverse_matrix, matrix
            log_det = -log_det
        steps = StepSequence(
            self._factory.prepared_coupling,
            self._num_steps,
            is_inverse=is_inverse,
            is_looped=not self._unroll and not tf.executing_eagerly(),
            is_trained=self.is_trained,
        )
        networks = prepared.networks
        if self.is_trained and is_inverse and self.memory == "stored":
            # Of all steps at once it takes fewer operations than in each, and copies of
            # kernels that the gradient keeps anyway: samples do without them.
            networks = self._factory.fold_networks(networks)
        tensors = {"shift": prepared.shift, "matrix": matrix(), **networks}
        if self.memory == "reversible":
            run_steps = partial(
                steps.run_reversible, stacked=tensors, undoing_matrix=inverse_matrix
            )
        else:
            run_steps = partial(steps.run, stacked=tensors)
        context = context_at(context, self._factory.context_shape, x, self.name)
        run = never_empty(lambda x, context: run_steps(x, context=context))
        z, log_det_of_couplings = apply_to_flat_batch(
            partial(run, context=context), tf.cast(x, STATE)
        )
        num_pixels = tf.cast(tf.reduce_prod(tf.shape(x)[-3:-1]), STATE)
        log_det = log_det_of_couplings + num_pixels * log_det
        return tf.cast(z, x.dtype), tf.cast(log_det, x.dtype)

    @property
    def _shaping_part(self) -> Squeeze:
        return self._squeeze
