"""Only what is special to LogisticMixtureCoupling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg

each_dtype = pytest.mark.parametrize("dtype", [tf.float32, tf.float64])


def constant(outputs, dtype=tf.float64, **arguments):
    """A coupling of two channels whose network always returns `outputs`."""
    outputs = tf.convert_to_tensor(outputs, dtype)
    return tfg.LogisticMixtureCoupling(
        2,
        network=lambda x: tf.zeros_like(x) + outputs,
        num_components=(outputs.shape[0] - 2) // 3,
        dtype=dtype,
        **arguments,
    )


def of_two_components(dtype=tf.float64, *, means=(-2.0, 1.5), **arguments):
    starts = np.array([-0.5, 0.5])
    outputs = [0.3, 0.2, 0.5, -0.5, *(np.array(means) - starts), 0.4, -1.1]
    return constant(outputs, dtype, **arguments)


def of_anything(dtype, scale):
    """A coupling of four channels whose network returns numbers up to about `scale`."""
    rng = np.random.default_rng(0)
    kernel = tf.constant(scale * rng.normal(size=[2, 2 * 14]), dtype)
    return tfg.LogisticMixtureCoupling(
        4, network=lambda x: tf.tensordot(x, kernel, 1), dtype=dtype
    )


def row(numbers, dtype=tf.float64):
    """An image of one row and two channels, the numbers in the second."""
    numbers = tf.reshape(tf.constant(numbers, dtype), [1, 1, -1, 1])
    return tf.concat([tf.ones_like(numbers), numbers], axis=-1)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_is_the_logit_of_the_cdf_shifted_and_scaled():
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=[2 + 3 * 3, 2])
    bijector = tfg.LogisticMixtureCoupling(
        4,
        num_components=3,
        network=lambda x: tf.zeros_like(x[..., :1]) + outputs.ravel(),
        log_scale_fn=tf.math.sin,
        dtype=tf.float64,
    )
    x = rng.normal(size=[3, 2, 1, 4])
    shift, raw, weights, means, scales = np.split(outputs, [1, 2, 5, 8])
    weights = np.exp(weights) / np.exp(weights).sum(axis=0)
    means = means + np.array([[-2 / 3], [0], [2 / 3]])
    bounds = np.where(scales < 0, 3, 0.25)
    scales = np.exp(bounds * np.tanh(scales / bounds))
    cdfs = sigmoid((x[..., None, 2:] - means) / scales)  # [3, 2, 1, 3, 2]
    cdf = (weights * cdfs).sum(axis=-2)
    z = (np.log(cdf / (1 - cdf)) + shift[0]) * np.exp(np.sin(raw[0]))
    np.testing.assert_allclose(bijector.inverse(x)[..., 2:], z, rtol=1e-12)


def test_of_one_component_it_is_affine_however_far_out():
    bijector = constant([0.3, 0.2, 7.0, -1.0, -2.0], log_scale_fn=tf.identity)
    x = np.array([-1e6, -50.0, 0.0, 0.1, 1e6])
    logit = (x + 1) / np.exp(3 * np.tanh(-2 / 3))
    expected = row((logit + 0.3) * np.exp(0.2))
    np.testing.assert_allclose(bijector.inverse(row(x)), expected, rtol=1e-14)
    np.testing.assert_allclose(bijector.forward(expected), row(x), rtol=1e-14)


@each_dtype
def test_starts_nearly_as_the_identity(dtype):
    bijector = tfg.LogisticMixtureCoupling(2, hidden_channels=4, dtype=dtype)
    z = row(np.linspace(-50, 50, 101), dtype)
    slopes = np.exp(bijector.log_scale(z)).ravel()
    np.testing.assert_allclose([slopes.min(), slopes[50]], 0.928, atol=1e-3)
    np.testing.assert_allclose(slopes[[0, -1]], 1, rtol=1e-5)
    np.testing.assert_allclose(bijector.inverse(z), z, atol=0.2)


def test_components_do_not_learn_the_same():
    bijector = tfg.LogisticMixtureCoupling(2, hidden_channels=4, dtype=tf.float64)
    with tf.GradientTape() as tape:
        z = bijector.inverse(row(np.linspace(-2, 3, 10)))
        loss = tf.reduce_sum(z**2)
    gradient = tape.gradient(loss, bijector.network.parameters["bias_3"])
    for of_components in tf.split(gradient[2:], 3):
        assert len(np.unique(of_components)) == 4


@each_dtype
def test_far_tails_are_finite_and_come_back(dtype):
    bijector = of_two_components(dtype)
    precision = 10 * np.finfo(dtype.as_numpy_dtype).eps
    for there, back in (
        (bijector.inverse, bijector.forward),
        (bijector.forward, bijector.inverse),
    ):
        far = row([-1000.0, -50.0, -30.0, 30.0, 50.0, 1000.0], dtype)
        result = there(far)
        assert np.all(np.abs(result[..., 1]) > 5)
        again = back(tf.identity(result))
        np.testing.assert_allclose(again, far, rtol=precision)
    # The heavier tail is that of the larger scale: the map is a straight line there.
    log_scales = np.exp(bijector.log_scale(row([-1000.0, 1000.0], dtype)))
    expected = np.exp(0.25 * np.tanh(0.8) - 0.25 * np.tanh(0.4 / 0.25))
    np.testing.assert_allclose(log_scales.ravel(), expected, rtol=1e-4)


@each_dtype
@pytest.mark.parametrize("scale", [0.3, 30.0])
def test_forward_is_exact_to_rounding(dtype, scale):
    """As far as z is known from x: to a rounding of x times the slope there."""
    bijector = of_anything(dtype, scale)
    z = tf.random.stateless_normal([4, 8, 8, 4], [0, 1], stddev=3.0, dtype=dtype)
    x = bijector.forward(z)
    z_again = bijector.inverse(tf.identity(x))
    eps = np.finfo(dtype.as_numpy_dtype).eps
    slope = np.exp(bijector.log_scale(z))
    size = np.abs(x[..., 2:]) * slope + np.abs(z[..., 2:]) + scale
    assert np.max(np.abs(z_again - z)[..., 2:] / size) < 8 * eps


@each_dtype
def test_slopes_are_bounded_whatever_the_network_says(dtype):
    bijector = of_anything(dtype, 1e3)
    z = tf.random.stateless_normal([4, 8, 8, 4], [0, 1], dtype=dtype)
    assert np.max(bijector.log_scale(z)) < 3 + 0.25 + 1e-3
    # Forward, far out, where the slope is that of the largest scale.
    bijector = of_two_components(dtype)
    assert bijector.forward(row([1e6], dtype))[0, 0, 0, 1] < 1e6 * np.exp(0.5)


@each_dtype
def test_in_a_gap_between_components_all_is_finite(dtype):
    bijector = constant(
        [0.0, 0.0, 0.0, 0.0, -49.5, 49.5, -100.0, -100.0], dtype, name="gap"
    )
    z = row([0.0, 1e-12, -1e-6, 1e-3, 1.0], dtype)
    with tf.GradientTape() as tape:
        tape.watch(z)
        x = bijector.forward(z)
    assert np.all(np.abs(x) < 60)
    assert np.all(np.isfinite(bijector.inverse(tf.identity(x))))
    assert np.all(np.isfinite(bijector.log_scale(z)))
    assert np.all(tape.gradient(x, z) >= 0)


def test_derivatives_of_forward_are_those_of_the_inverse_function():
    bijector = of_two_components()
    z = row(np.linspace(-6, 5, 12))
    x = tf.identity(bijector.forward(z))
    with tf.GradientTape() as second, tf.GradientTape() as first:
        first.watch(z)
        second.watch(z)
        y = bijector.forward(z)[..., 1]
        dx_dz = first.gradient(y, z)[..., 1]
    d2x_dz2 = second.gradient(dx_dz, z)[..., 1]
    with tf.GradientTape() as second, tf.GradientTape() as first:
        first.watch(x)
        second.watch(x)
        y = bijector.inverse(x)[..., 1]
        dz_dx = first.gradient(y, x)[..., 1]
    d2z_dx2 = second.gradient(dz_dx, x)[..., 1]
    np.testing.assert_allclose(dx_dz, 1 / dz_dx, rtol=1e-10)
    np.testing.assert_allclose(d2x_dz2, -d2z_dx2 / dz_dx**3, rtol=1e-8, atol=1e-12)


def test_gradients_of_samples_are_finite_differences():
    """With respect to what the network returns, of value and log-determinant."""
    rng = np.random.default_rng(0)
    outputs = tf.constant(rng.normal(size=[14]))
    z = tf.constant(rng.normal(size=[1, 3, 3, 2]))

    @tf.function
    def loss(values):
        bijector = constant(values)
        x = bijector.forward(tf.identity(z))
        log_det = bijector.forward_log_det_jacobian(tf.identity(z), 3)
        return tf.reduce_sum(tf.sin(x)) + tf.reduce_sum(log_det)

    with tf.GradientTape() as tape:
        tape.watch(outputs)
        value = loss(outputs)
    gradient = tape.gradient(value, outputs)
    steps = 1e-5 * np.eye(14)
    expected = [(loss(outputs + h) - loss(outputs - h)) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_graph_does_not_grow_with_the_halvings():
    """There are more of them in float64, and as many operations."""
    num_operations = {
        len(
            tf.function(of_two_components(dtype).forward)
            .get_concrete_function(tf.TensorSpec([None, 2, 2, 2], dtype))
            .graph.get_operations()
        )
        for dtype in (tf.float32, tf.float64)
    }
    assert len(num_operations) == 1


def test_log_scale_is_what_the_log_det_adds_up():
    bijector = of_anything(tf.float64, 1.0)
    x = tf.random.stateless_normal([3, 2, 2, 4], [0, 1], dtype=tf.float64)
    z = tf.identity(bijector.inverse(x))
    log_det = bijector.inverse_log_det_jacobian(x, 3)
    total = tf.reduce_sum(bijector.log_scale(z), [1, 2, 3])
    np.testing.assert_allclose(total, log_det, rtol=1e-10)
    np.testing.assert_allclose(
        bijector.forward_log_det_jacobian(z, 3), -log_det, rtol=1e-10
    )


def test_copy_keeps_components_and_scale_function():
    bijector = of_two_components(log_scale_fn=tf.identity)
    x = row([-1.0, 2.0])
    np.testing.assert_array_equal(bijector.copy().inverse(x), bijector.inverse(x))


@pytest.mark.parametrize("num_components", [0, 2.5])
def test_rejects_components_that_are_no_positive_integer(num_components):
    with pytest.raises(ValueError, match="`num_components` must be a positive integer"):
        tfg.LogisticMixtureCoupling(4, num_components=num_components)


def test_in_a_model_that_is_trained_saved_and_exported(tmp_path):
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).choice([0, 40, 250], [64, 4, 4, 2])
    images = images.astype(np.uint8)
    model = tfg.GlowModel(
        (4, 4, 2),
        num_levels=1,
        num_steps=1,
        hidden_channels=8,
        coupling="logistic_mixture",
        scale="bounded",
        seed=0,
    )
    model.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
    history = model.fit(images, batch_size=32, epochs=12, verbose=0)
    losses = history.history["loss"]
    assert losses[-1] < losses[1] - 0.3

    latents = model.encode(images)
    np.testing.assert_array_equal(model.decode(latents), images)
    report = tfg.check_invertibility(model, images)
    assert report.is_invertible
    assert 0 < report.parts[0].coupling_log_scale < 3.25

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(images), latents)
    model.export(tmp_path / "exported")
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures
    found = served["encode"](images=tf.constant(images))["latents"]
    np.testing.assert_allclose(found, latents, rtol=1e-5, atol=1e-5)
    found = served["decode"](latents=tf.constant(latents))["images"]
    np.testing.assert_array_equal(found, images)
    # At temperature 0 every z is where a mixture may have its gap.
    seeds, temperatures = tf.constant([1, 2]), tf.constant([1.0, 0.0])
    found = served["sample"](seed=seeds, temperature=temperatures)["images"]
    assert found.shape == [2, 4, 4, 2]
