"""Training steps and samplers of tfp_glow."""

import tfp_glow as tfg  # isort: skip  (first, as in a program that has no other flows)

from functools import partial

import keras
import tensorflow as tf
import tensorflow_probability as tfp
from subject import LEARNING_RATE, Subject, smooth_images
from tensorflow_subjects import make_subject, sampler, training_step

tfd = tfp.distributions

__all__ = ["fit", "sample", "train"]


def train(
    *,
    batch_size: int,
    optimizer: str = "tfp_glow",
    jit_compile: bool = False,
    **shape: object,
) -> Subject:
    """A training step of `tfg.Glow`, after data-dependent initialisation."""
    distribution = _glow(**shape)
    images = tf.constant(smooth_images(batch_size, shape["event_shape"]))
    tfg.initialize(distribution, images)
    return training_step(distribution, images, optimizer, jit_compile=jit_compile)


def fit(*, batch_size: int, **shape: object) -> Subject:
    """One step of `GlowModel.fit` on `uint8` images, with a moving average."""
    model = tfg.GlowModel(seed=0, **shape)
    model.compile(tfg.Adamax(LEARNING_RATE, use_ema=True))
    images = tfg.quantize(smooth_images(batch_size, shape["event_shape"])).numpy()

    def call() -> float:
        history = model.fit(
            images, batch_size=batch_size, steps_per_epoch=1, epochs=1, verbose=0
        )
        return history.history["loss"][-1]

    return make_subject(call, [v.value for v in model.trainable_variables])


def sample(*, batch_size: int, merged: bool = False, **shape: object) -> Subject:
    """Sampling from `tfg.Glow`, or from what `Glow.merged` makes of it."""
    distribution = _glow(**shape)
    variables = distribution.trainable_variables
    if merged:
        distribution = tfg.glow_distribution(distribution.bijector.merged())
    return sampler(distribution, batch_size, variables)


def _glow(
    *,
    event_shape: tuple[int, int, int],
    mixed: bool = False,
    network_width: int | None = None,
    **arguments: object,
) -> tfd.Distribution:
    """Of networks of Keras's layers, where their width is given."""
    if mixed:
        arguments["network_dtype"] = tf.bfloat16
    if network_width is not None:
        arguments["network_fn"] = partial(_convolutions, network_width)
    return tfg.glow_distribution(tfg.Glow(event_shape, seed=0, **arguments))


def _convolutions(width: int, channels_in: int, channels_out: int) -> keras.Model:
    layer = partial(keras.layers.Conv2D, padding="same")
    return keras.Sequential(
        [
            keras.Input([None, None, channels_in]),
            layer(width, 3, activation="relu"),
            layer(width, 1, activation="relu"),
            layer(channels_out, 3, kernel_initializer="zeros"),
        ]
    )
