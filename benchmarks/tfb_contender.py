"""Training steps and samplers of TFP's own Glow."""

from functools import partial
from math import prod

import tensorflow as tf
import tensorflow_probability as tfp
from subject import Subject, smooth_images
from tensorflow_subjects import sampler, training_step

tfb = tfp.bijectors
tfd = tfp.distributions

__all__ = ["sample", "train"]


def train(*, batch_size: int, optimizer: str = "tfp_glow", **shape: object) -> Subject:
    """A training step of `tfb.Glow`, which initialises itself in its first."""
    images = tf.constant(smooth_images(batch_size, shape["event_shape"]))
    return training_step(_glow(**shape), images, optimizer)


def sample(*, batch_size: int, **shape: object) -> Subject:
    """Sampling from `tfb.Glow`, initialised: it would do so from its samples."""
    distribution = _glow(**shape)
    for variable in distribution.variables:
        if variable.dtype == tf.bool:  # whether an act-norm is initialised
            variable.assign(True)
    return sampler(distribution, batch_size, distribution.trainable_variables)


def _glow(
    *,
    event_shape: tuple[int, int, int],
    num_levels: int,
    num_steps: int,
    hidden_channels: int,
) -> tfd.Distribution:
    bijector = tfb.Glow(
        output_shape=event_shape,
        num_glow_blocks=num_levels,
        num_steps_per_block=num_steps,
        coupling_bijector_fn=partial(
            tfb.GlowDefaultNetwork, num_hidden=hidden_channels
        ),
        exit_bijector_fn=tfb.GlowDefaultExitNetwork,
        seed=0,
    )
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [prod(event_shape)])
    return tfd.TransformedDistribution(base, bijector)
