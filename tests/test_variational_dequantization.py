import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def perturb(module, scale=0.2):
    rng = np.random.default_rng(1)
    for variable in module.trainable_variables:
        noise = rng.normal(scale=scale, size=variable.shape)
        variable.assign_add(tf.constant(noise, variable.dtype))


def perturbed_dequantizer(num_bits=8, dtype=tf.float64):
    dequantizer = tfg.VariationalDequantizer(
        [4, 2, 1], num_bits=num_bits, hidden_channels=8, seed=0, dtype=dtype
    )
    perturb(dequantizer)
    return dequantizer


def tiny_model(**arguments):
    defaults = {"num_levels": 1, "num_steps": 1, "hidden_channels": 16, "seed": 0}
    return tfg.GlowModel(
        (4, 4, 1), dequantization="variational", **defaults | arguments
    )


def test_starts_as_uniform_noise():
    dequantizer = tfg.VariationalDequantizer([4, 4, 3], seed=0)
    images = random_images(200, 4, 4, 3)
    dequantizer.initialize(images, seed=0)
    x, log_q = dequantizer(images, seed=1)
    noise = np.asarray((x + 0.5) * 256) - images
    quantiles = np.quantile(noise, [0.1, 0.25, 0.5, 0.75, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.25, 0.5, 0.75, 0.9], atol=0.02)
    # 0 but for the act-norms, which make the first batch's variance exactly 1.
    assert abs(np.mean(log_q)) < 0.3


def test_log_density_is_that_of_the_jacobian():
    dequantizer = perturbed_dequantizer()
    images = random_images(3, 4, 2, 1)
    normals = tf.constant(np.random.default_rng(1).normal(size=[3, 4, 2, 1]))
    with tf.GradientTape() as tape:
        tape.watch(normals)
        x, log_q = dequantizer(images, normals=normals)
        noise = tf.reshape(x * 256, [3, 8])
    jacobian = tf.reshape(tape.batch_jacobian(noise, normals), [3, 8, 8])
    density = np.sum(-(normals**2) / 2 - np.log(2 * np.pi) / 2, axis=(1, 2, 3))
    np.testing.assert_allclose(
        log_q, density - np.linalg.slogdet(jacobian)[1], rtol=1e-9
    )


@pytest.mark.parametrize("num_bits", [8, 3])
def test_noise_stays_in_the_bin_and_depends_on_the_image(num_bits):
    dequantizer = perturbed_dequantizer(num_bits, tf.float32)
    images = np.full([500, 4, 2, 1], 255, np.uint8)
    images[::2] = 0
    # Far in the tails.
    normals = 6 * np.random.default_rng(1).normal(size=[500, 4, 2, 1])
    x, _ = dequantizer(images, normals=tf.constant(normals, tf.float32))
    kept = images >> (8 - num_bits) << (8 - num_bits)
    np.testing.assert_array_equal(tfg.quantize(x, num_bits), kept)
    x, log_q = dequantizer(images, normals=tf.constant(normals[0] / 6, tf.float32))
    noise = np.asarray(x + 0.5) * 2**num_bits % 1
    assert abs(noise[0] - noise[1]).max() > 1e-3
    np.testing.assert_allclose(log_q[::2], log_q[0], rtol=1e-5)


def test_many_samples_give_the_probability_that_uniform_noise_gives():
    images = random_images(2, 2, 2, 1)
    uniform = tfg.GlowModel(
        (2, 2, 1),
        num_bits=1,
        num_levels=1,
        num_steps=2,
        hidden_channels=4,
        seed=0,
        dtype="float64",
    )
    perturb(uniform.glow, 0.1)
    config = uniform.get_config() | {"dequantization": "variational"}
    variational = tfg.GlowModel.from_config(config)
    for mine, other in zip(
        variational.glow.variables, uniform.glow.variables, strict=True
    ):
        mine.assign(other)
    perturb(variational.dequantizer, 0.1)
    samples = np.repeat(images, 400_000, 0)
    (expected, _), (actual, bound) = (
        _marginal_and_bound(model.log_prob(samples, seed=0), len(images))
        for model in (uniform, variational)
    )
    np.testing.assert_allclose(actual, expected, atol=0.03)
    assert np.all(bound < actual - 0.03)


def _marginal_and_bound(log_probs, num_images):
    """Logarithm of the mean probability, and mean of its logarithm, in nats."""
    log_probs = np.reshape(log_probs, [num_images, -1])
    marginal = tf.reduce_logsumexp(log_probs, 1) - np.log(log_probs.shape[1])
    return marginal, np.mean(log_probs, 1)


def test_noise_is_trained_saved_and_exported(tmp_path):
    images = random_images(64, 4, 4, 1)
    model = tiny_model()
    before = [v.numpy() for v in model.dequantizer.trainable_variables]
    model.compile(keras.optimizers.Adam(0.01))
    history = model.fit(images, epochs=5, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert all(
        np.any(a != b.numpy())
        for a, b in zip(before, model.dequantizer.trainable_variables, strict=True)
    )
    expected = model.bits_per_dim(images, seed=3)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.bits_per_dim(images, seed=3), expected)
    np.testing.assert_array_equal(model.decode(model.encode(images, seed=0)), images)
    model.export(tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures
    answers = served["bits_per_dim"](images=tf.constant(images))["bits_per_dim"]
    assert abs(np.mean(answers) - np.mean(expected)) < 0.1
    few = served["bits_per_dim"](images=tf.constant(images[:3]))["bits_per_dim"]
    np.testing.assert_allclose(few, answers[:3], rtol=1e-5)


def test_odd_images():
    with pytest.raises(ValueError, match="divisible by 2"):
        tfg.VariationalDequantizer([3, 4, 1])


def test_merged_noise_is_the_same():
    dequantizer = perturbed_dequantizer()
    images = random_images(3, 4, 2, 1)
    normals = tf.constant(np.random.default_rng(1).normal(size=[3, 4, 2, 1]))
    both = [d(images, normals=normals) for d in (dequantizer, dequantizer.merged())]
    for expected, actual in zip(*both, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9)
    assert not dequantizer.merged().trainable_variables
