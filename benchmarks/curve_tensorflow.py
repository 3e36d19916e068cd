"""Glows of TensorFlow Probability whose training is followed."""

import tfp_glow as tfg  # isort: skip  (first, as in a program that has no other flows)

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from curve_loop import Trainee, follow
from digits_against_tfb_glow import tfb_glow
from subject import Subject

from tfp_glow.presets import PRESETS

tfd = tfp.distributions

__all__ = ["ours", "theirs"]


def ours(*, preset: str, **arguments: object) -> Subject:
    """The model of a preset."""

    def make() -> Trainee:
        shape, model = PRESETS[preset].event_shape, PRESETS[preset].model
        distribution = tfg.glow_distribution(tfg.Glow(shape, seed=0, **model))

        def initialize(x: tf.Tensor) -> None:
            tfg.initialize(distribution, x)

        return _trainee(distribution, initialize)

    return follow(make, **arguments)


def theirs(*, preset: str, **arguments: object) -> Subject:
    """`tfb.Glow` of the same levels, steps and width, whose exits start at 1."""

    def make() -> Trainee:
        distribution = tfb_glow(PRESETS[preset].event_shape, PRESETS[preset].model)
        # It initialises itself from the first batch that it sees.
        return _trainee(distribution, distribution.log_prob)

    return follow(make, **arguments)


def _trainee(distribution: tfd.Distribution, initialize: object) -> Trainee:
    variables = distribution.trainable_variables
    averages = [tf.Variable(v) for v in variables]
    optimizer = tfg.Adamax(0.0)
    optimizer.build([keras.Variable(v, name=f"v{i}") for i, v in enumerate(variables)])
    log_prob = tf.function(distribution.log_prob)
    is_initialized = False

    @tf.function
    def train(x: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        optimizer.apply(tape.gradient(loss, variables))
        return loss

    @tf.function
    def average(momentum: tf.Tensor) -> None:
        for old, new in zip(averages, variables, strict=True):
            old.assign_add((1 - momentum) * (new - old))

    def step(images: np.ndarray, learning_rate: float) -> float:
        nonlocal is_initialized
        if not is_initialized:
            initialize(tf.constant(images))
            is_initialized = True
        optimizer.learning_rate.assign(learning_rate)
        return float(train(tf.constant(images)))

    def swap() -> None:
        for one, other in zip(averages, variables, strict=True):
            value = one.numpy()
            one.assign(other)
            other.assign(value)

    def changing() -> list[tf.Variable]:
        # Those of tfb.Glow that say what is initialised are not trained.
        return [*distribution.variables, *averages, *optimizer.variables]

    def restore(state: list[np.ndarray]) -> None:
        for variable, value in zip(changing(), state, strict=True):
            variable.assign(value)

    return Trainee(
        step=step,
        negative_log_likelihood=lambda x: -log_prob(tf.constant(x)).numpy(),
        average=lambda momentum: average(tf.constant(momentum, tf.float32)),
        swap=swap,
        state=lambda: [v.numpy() for v in changing()],
        restore=restore,
        num_parameters=sum(int(np.prod(v.shape)) for v in variables),
    )
