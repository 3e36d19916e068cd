"""A row's answer does not depend on how many rows are beside it."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.dequantization import uniform_noise
from tfp_glow.export import _served, _served_functions

NUM_ROWS = 33
SIZES = [1, 2, 3, 5, 8, 16, 17, 32]
MODELS = {
    "digits": {
        "event_shape": (8, 8, 1),
        "num_bits": 4,
        "num_levels": 2,
        "num_steps": 6,
        "hidden_channels": 64,
    },
    "32x32": {
        "event_shape": (32, 32, 3),
        "num_levels": 3,
        "num_steps": 2,
        "hidden_channels": 32,
    },
}


@pytest.fixture(scope="module", params=MODELS)
def served(request):
    """A served model with weights that are not initial ones, images, and its bits."""
    model = tfg.GlowModel(seed=0, **MODELS[request.param])
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [64, *model.event_shape], np.uint8)
    tfg.initialize(model.distribution, tfg.dequantize(images, model.num_bits, seed=0))
    for variable in model.trainable_variables:
        noise = rng.normal(scale=0.02, size=variable.shape)
        variable.assign(variable + noise.astype(np.float32))
    distribution = model.distribution
    if request.param == "digits":
        distribution = tfg.glow_distribution(model.glow.merged())
    noise = uniform_noise(model.event_shape, 0, model.glow.dtype)
    functions = _served_functions(distribution, None, noise, model.num_bits)
    return SimpleNamespace(**functions), images[:NUM_ROWS], model.num_bits


def test_log_prob_is_that_of_any_batch(served):
    model, images, _ = served
    whole = model.log_prob(tf.constant(images))["log_prob"]
    # A sum of thousands of float32 numbers.
    for size in SIZES:
        part = model.log_prob(tf.constant(images[:size]))["log_prob"]
        np.testing.assert_allclose(part, whole[:size], rtol=1e-6, err_msg=size)


def test_samples_are_those_of_any_batch(served):
    model, _, num_bits = served
    seed = tf.range(NUM_ROWS)
    temperature = tf.linspace(0.5, 1.0, NUM_ROWS)
    whole = model.sample(seed, temperature)["images"].numpy().astype(int)
    assert whole.std() > 20  # they show something
    num_different, num_pixels = 0, 0
    for size in SIZES:
        part = model.sample(seed[:size], temperature[:size])["images"]
        difference = np.abs(part.numpy() - whole[:size])
        assert difference.max() <= 2 ** (8 - num_bits)  # one level
        num_different += np.count_nonzero(difference)
        num_pixels += difference.size
    assert num_different < 1e-4 * num_pixels


def test_a_row_that_comes_alone_has_company():
    def count(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"num_rows": tf.fill([tf.shape(x)[0]], tf.shape(x)[0])}

    served = _served(count, {"x": ([None], tf.float32)})
    for num_rows, expected in [(0, []), (1, [2]), (2, [2, 2]), (3, [3, 3, 3])]:
        counted = served(tf.ones([num_rows]))["num_rows"]
        assert counted.numpy().tolist() == expected
