"""Checkpoints of every architecture that openai/glow has, against it in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from openai_glow import Config, evaluate, is_trained, make_variables, write_checkpoint

import tfp_glow as tfg

BATCH = 3

CONFIGS = {
    "reverse-additive": Config(flow_permutation=0, flow_coupling=0, learntop=False),
    "reverse-affine": Config(flow_permutation=0, depth=2),
    "shuffle-additive": Config(flow_permutation=1, flow_coupling=0, n_bits_x=5),
    "shuffle-affine-3_levels": Config(flow_permutation=1, n_levels=3, depth=2),
    "invconv-additive": Config(flow_coupling=0, depth=2, learntop=False),
    "invconv-affine-1_level": Config(n_levels=1, image_size=6, depth=3, width=5),
    "lu-affine": Config(lu=True, n_bits_x=1),
    "lu-additive-gray": Config(lu=True, flow_coupling=0, channels=1, depth=2),
    "classes": Config(n_y=4, image_size=4),
    "classes-no_top": Config(n_y=3, learntop=False, flow_permutation=1),
    "classes-classifier": Config(n_y=5, classifier=True, lu=True),
    "11_steps": Config(depth=11, n_levels=1, image_size=4, channels=1, width=3),
}


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def dequantized(config, dtype=np.float64):
    rng = np.random.default_rng(1)
    shape = [BATCH, config.image_size, config.image_size, config.channels]
    return rng.uniform(-0.5, 0.5, shape).astype(dtype)


def classes(config):
    return np.arange(BATCH) % config.n_y if config.n_y else None


def load(config, folder, **arguments):
    defaults = {"num_bits": config.n_bits_x, "dtype": "float64"}
    return tfg.load_openai_checkpoint(
        folder, config.image_size, **(defaults | arguments)
    )


def measure(model, z, y):
    kwargs = {} if y is None else {"labels": y}
    log_prob = model.distribution.log_prob(tf.constant(z), bijector_kwargs=kwargs)
    bits = tfg.bits_per_dim(log_prob, model.event_shape, model.num_bits)
    return bits, model.glow.inverse(tf.constant(z), **kwargs)


def test_gives_what_openai_glow_does(config, tmp_path):
    variables = make_variables(config)
    write_checkpoint(tmp_path, variables)
    z, y = dequantized(config), classes(config)
    expected = evaluate(config, variables, z, y)
    model = load(config, tmp_path)
    bits, latents = measure(model, z, y)
    np.testing.assert_allclose(bits, expected["bits_x"], rtol=1e-12)
    np.testing.assert_allclose(latents, expected["eps"], rtol=0, atol=1e-11)
    kwargs = {} if y is None else {"labels": y}
    decoded = model.glow.forward(tf.identity(latents), **kwargs)
    np.testing.assert_allclose(decoded, z, rtol=0, atol=1e-11)
    num_trained = sum(np.size(v) for n, v in variables.items() if is_trained(n))
    if config.learntop:  # of its kernel one input channel in 2C + 1 does anything
        kernel = variables["prior/p/W"]
        num_trained -= kernel.size - kernel[:, :, -1].size
    for name, matrix in variables.items():
        if name.endswith("invconv/W"):  # becomes L, U and a diagonal
            num_trained += matrix.size + len(matrix)
    assert sum(np.size(v) for v in model.trainable_variables) == num_trained


@pytest.mark.parametrize("name", ["shuffle-affine-3_levels", "classes", "lu-affine"])
def test_float32_model_is_as_exact_as_float32_is(name, tmp_path):
    config = CONFIGS[name]
    variables = make_variables(config)
    write_checkpoint(tmp_path, variables)
    z, y = dequantized(config, np.float32), classes(config)
    expected = evaluate(config, variables, z.astype(np.float64), y)
    bits, latents = measure(load(config, tmp_path, dtype="float32"), z, y)
    np.testing.assert_allclose(bits, expected["bits_x"], rtol=1e-6)
    np.testing.assert_allclose(latents, expected["eps"], rtol=0, atol=2e-5)


def test_classifier_gives_the_cross_entropy_in_bits(tmp_path):
    config = CONFIGS["classes-classifier"]
    variables = make_variables(config)
    write_checkpoint(tmp_path, variables)
    images = np.random.default_rng(2).integers(0, 256, [BATCH, 8, 8, 3], np.uint8)
    y = classes(config)
    for weight_y in (0.0, 0.3):
        model = load(config, tmp_path, weight_y=weight_y)
        x = tfg.dequantize(images, seed=4, dtype=tf.float64)
        expected = evaluate(config, variables, x.numpy(), y)
        bits_y = model.label_bits(images, y, seed=4)
        np.testing.assert_allclose(bits_y, expected["bits_y"], rtol=1e-10)
        logits = model.class_logits(images, seed=4)
        log_p = tf.nn.log_softmax(logits).numpy()[np.arange(BATCH), y] / np.log(2)
        np.testing.assert_allclose(-log_p, expected["bits_y"], rtol=1e-10)
        measured = model.evaluate(images, y, return_dict=True, verbose=0)
        loss = measured["bits_per_dim"] + weight_y * measured["label_bits"]
        np.testing.assert_allclose(measured["loss"], loss, rtol=1e-6)


@pytest.mark.parametrize("name", ["shuffle-additive", "classes-classifier"])
def test_moving_averages_on_request(name, tmp_path):
    config = CONFIGS[name]
    variables = make_variables(config)
    write_checkpoint(tmp_path, variables)
    averages = {
        name: value * np.float32(0.9) if is_trained(name) else value
        for name, value in variables.items()
    }
    z, y = dequantized(config), classes(config)
    expected = evaluate(config, averages, z, y)["bits_x"]
    bits, _ = measure(load(config, tmp_path, use_ema=True), z, y)
    np.testing.assert_allclose(bits, expected, rtol=1e-12)


def test_is_a_model_like_any_other(tmp_path):
    """Trains on without a new initialisation, is saved, loaded and exported."""
    config = Config(n_y=5, classifier=True, lu=True, n_levels=1, image_size=4)
    write_checkpoint(tmp_path, make_variables(config))
    model = load(config, tmp_path, weight_y=0.1, dtype="float32")
    images = np.random.default_rng(2).integers(0, 256, [8, 4, 4, 3], np.uint8)
    y = np.arange(8) % 5
    before = model.bits_per_dim(images, y, seed=0).numpy()
    assert tfg.bijectors.is_initialized(model.distribution)
    model.compile(keras.optimizers.Adamax(1e-6))
    model.fit(images, y, verbose=0)
    after = model.bits_per_dim(images, y, seed=0).numpy()
    np.testing.assert_allclose(after, before, rtol=1e-3)
    assert np.any(after != before)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.bits_per_dim(images, y, seed=0), after, rtol=1e-6)
    np.testing.assert_allclose(
        loaded.label_bits(images, y, seed=0),
        model.label_bits(images, y, seed=0),
        rtol=1e-6,
    )
    np.testing.assert_array_equal(model.decode(model.encode(images, y), y), images)
    model.export(tmp_path / "exported")
    served = tf.saved_model.load(tmp_path / "exported").signatures["encode"]
    latents = served(images=tf.constant(images), labels=tf.constant(y, tf.int32))
    np.testing.assert_allclose(latents["latents"], model.encode(images, y), atol=1e-5)
