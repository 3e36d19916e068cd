"""Every variable is trained, and nothing on the way is NaN or infinite."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg

SHAPE = (4, 4, 2)


@pytest.fixture(autouse=True)
def _check_numerics() -> Iterator[None]:
    """TensorFlow raises where any operation puts out NaN or infinity."""
    # Of every operation it writes down where it was made: one line of that is enough.
    tf.debugging.enable_check_numerics(stack_height_limit=1)
    yield
    tf.debugging.disable_check_numerics()


@contextmanager
def eagerly() -> Iterator[None]:
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def network(channels_in: int, channels_out: int) -> keras.layers.Layer:
    return keras.layers.Conv2D(channels_out, 3, padding="same")


def images(num: int = 16) -> np.ndarray:
    """Noise; black and white images; a channel that is the same in all of them."""
    x = np.random.default_rng(0).integers(0, 256, [num, *SHAPE])
    x[:2], x[2:4] = 0, 255
    x[..., 1] = 7
    return x.astype(np.uint8)


def gradients(model: tfg.GlowModel, y: np.ndarray | None) -> list[tf.Tensor | None]:
    """Of the loss, by every variable that is trained."""
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(model.log_prob(images(), y, seed=0))
    return tape.gradient(loss, model.distribution.trainable_variables)


def assert_finite(found: list[tf.Tensor | None]) -> None:
    for gradient in found:
        assert gradient is not None
        assert np.all(np.isfinite(tf.convert_to_tensor(gradient)))


# What is chosen for one part does not matter to the others: each choice once.
@pytest.mark.parametrize(
    "arguments",
    [
        {"num_levels": 2, "num_classes": 3},
        {
            "coupling": "additive",
            "permutation": "shuffle",
            "learn_top_prior": False,
            "network_fn": network,
        },
        {"coupling": "logistic_mixture", "permutation": "reverse", "num_bits": 5},
    ],
    ids=["paper_classes", "additive_users_networks", "mixture"],
)
def test_training_from_the_start_to_ten_steps(arguments):
    keras.utils.set_random_seed(0)
    model = tfg.GlowModel(
        SHAPE,
        **{"num_levels": 1, "num_steps": 1, "hidden_channels": 4, "seed": 0}
        | arguments,
    )
    y = None if model.glow.num_classes is None else np.arange(16) % 3
    # Without a graph, whose every operation would be checked: `fit` has one.
    with eagerly():
        assert_finite(gradients(model, y))

    model.compile(keras.optimizers.Adamax(1e-2), jit_compile=False)
    before = [variable.numpy() for variable in model.distribution.trainable_variables]
    model.fit(images(), y, batch_size=16, epochs=10, verbose=0)
    with eagerly():
        found = gradients(model, y)
    assert_finite(found)
    for gradient in found:  # what starts behind a kernel of zeros is trained by now
        assert np.any(tf.convert_to_tensor(gradient))
    for variable, value in zip(
        model.distribution.trainable_variables, before, strict=True
    ):
        assert np.any(variable != value)

    with eagerly():
        z = model.encode(images(), y)
        np.testing.assert_array_equal(model.decode(z, y) // 8, images() // 8)


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_initialization_on_constant_images(dtype):
    """Variance 0 everywhere: logarithms and reciprocals of it stay out of the way."""
    glow = tfg.Glow(SHAPE, num_levels=2, num_steps=1, hidden_channels=4, dtype=dtype)
    distribution = tfg.glow_distribution(glow, temperature=0.5)
    x = tf.fill([3, *SHAPE], tf.constant(0.25, dtype))
    tfg.initialize(distribution, x)
    with tf.GradientTape() as tape:
        log_prob = distribution.log_prob(x)
    assert np.all(np.isfinite(log_prob))
    assert_finite(tape.gradient(log_prob, distribution.trainable_variables))
    assert np.all(np.isfinite(distribution.sample(2, seed=[0, 1])))
