"""Only what is special to ActNormBijector."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg

SHIFT = np.array([1.0, -1.0])
LOG_SCALE = np.log([2.0, 4.0])


def known(shift=SHIFT, log_scale=LOG_SCALE):
    """A bijector with known parameters, which it keeps divided by 3."""
    raw_log_scale = tf.constant(log_scale / 3)
    channels = shift.shape[-1]
    return tfg.ActNormBijector(
        channels, shift=tf.constant(shift), raw_log_scale=raw_log_scale
    )


def deferred(value):
    return tfp.util.DeferredTensor(tf.Variable(value), tf.identity)


def test_known_values():
    bijector = known()
    x = tf.constant([[1.0, 2.0], [3.0, 5.0]], tf.float64)
    np.testing.assert_allclose(bijector.inverse(x), [[4, 4], [8, 16]])
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(x, event_ndims=1), np.log(8)
    )


def test_log_det_counts_the_pixels():
    bijector = known()
    images = tf.ones([7, 5, 3, 2], tf.float64)
    log_det = bijector.inverse_log_det_jacobian(images, event_ndims=3)
    np.testing.assert_allclose(log_det, 5 * 3 * np.log(8))


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_variable_holds_the_log_scale_divided_by_the_factor(factor):
    bijector = tfg.ActNormBijector(2, log_scale_factor=factor, dtype=tf.float64)
    bijector.raw_log_scale.assign(LOG_SCALE)
    np.testing.assert_allclose(bijector.log_scale, factor * LOG_SCALE)
    x = tf.ones([1, 2], tf.float64)
    np.testing.assert_allclose(bijector.inverse(x)[0], np.exp(factor * LOG_SCALE))


def test_starts_as_the_identity():
    x = tf.random.stateless_normal([4, 3], seed=[0, 0])
    np.testing.assert_array_equal(tfg.ActNormBijector(3).inverse(x), x)


@pytest.mark.parametrize(
    ("wrap", "num_variables"),
    [
        (np.ndarray.tolist, 0),
        (tf.constant, 0),
        (tf.Variable, 2),
        (lambda value: keras.Variable(value, dtype="float64"), 2),
        (deferred, 2),
    ],
    ids=["list", "tensor", "variable", "keras_variable", "deferred"],
)
def test_takes_parameters_as_tfp_does(wrap, num_variables):
    bijector = tfg.ActNormBijector(
        2, shift=wrap(SHIFT), raw_log_scale=wrap(LOG_SCALE / 3), dtype=tf.float64
    )
    assert len(bijector.trainable_variables) == num_variables
    x = tf.ones([3, 2], tf.float64)
    np.testing.assert_allclose(bijector.inverse(x), [[4, 0]] * 3)
    for variable in bijector.trainable_variables:
        variable.assign(tf.zeros_like(variable))
    expected = [[1, 1]] * 3 if num_variables else [[4, 0]] * 3
    np.testing.assert_allclose(bijector.inverse(tf.identity(x)), expected)


def test_parameters_may_have_a_batch():
    shift = np.arange(6.0).reshape([3, 1, 1, 2])
    log_scale = np.linspace(-1, 1, 6).reshape([3, 1, 1, 2])
    bijector = known(shift, log_scale)
    assert bijector.experimental_batch_shape(x_event_ndims=3) == [3]
    x = tf.random.stateless_normal([3, 4, 5, 2], seed=[0, 0], dtype=tf.float64)
    z = bijector.inverse(x)
    log_det = bijector.inverse_log_det_jacobian(x, event_ndims=3)
    for k in range(3):
        alone = known(shift[k, 0, 0], log_scale[k, 0, 0])
        np.testing.assert_allclose(z[k], alone.inverse(x[k]))
        expected = alone.inverse_log_det_jacobian(x[k], event_ndims=3)
        np.testing.assert_allclose(log_det[k], expected)


@pytest.mark.parametrize("shape", [[50, 3], [10, 4, 5, 3]])
def test_initialize_standardises_each_channel(shape):
    bijector = tfg.ActNormBijector(3, dtype=tf.float64)
    x = tf.random.stateless_normal(shape, seed=[0, 0], dtype=tf.float64)
    x = x * [1.0, 20.0, 0.01] + [0.0, -3.0, 7.0]
    tfg.initialize(bijector, x)
    z = np.reshape(bijector.inverse(x), [-1, 3])
    np.testing.assert_allclose(z.mean(0), np.zeros(3), atol=1e-10)
    np.testing.assert_allclose(z.std(0), np.ones(3), rtol=1e-10)


@pytest.mark.parametrize(
    ("dtype", "mean", "std"),
    [
        (tf.float64, 1e9, 100.0),  # seconds
        (tf.float32, 1e4, 1.0),
        (tf.float32, 0.0, 1e-7),
        (tf.float32, 0.0, 1e-25),  # whose square is 0 in float32
        (tf.float32, 0.0, 1e25),  # and infinite
    ],
)
def test_initialize_standardises_spreads_of_any_size(dtype, mean, std):
    bijector = tfg.ActNormBijector(2, dtype=dtype)
    x = mean + std * np.random.default_rng(0).normal(size=[1000, 2])
    tfg.initialize(bijector, tf.constant(x, dtype))
    z = bijector.inverse(tf.constant(x, dtype))
    np.testing.assert_allclose(np.mean(z, 0), np.zeros(2), atol=1e-3)
    np.testing.assert_allclose(np.std(z, 0), np.ones(2), rtol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, -300.0])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_initialize_only_shifts_a_constant_channel(constant, dtype):
    bijector = tfg.ActNormBijector(2, dtype=dtype)
    varied = tf.random.stateless_normal([40, 8, 8, 1], seed=[0, 0], dtype=dtype)
    x = tf.concat([varied, constant * tf.ones_like(varied)], axis=-1)
    tfg.initialize(bijector, x)
    np.testing.assert_array_equal(bijector.log_scale[1], 0)
    np.testing.assert_allclose(bijector.inverse(x)[..., 1], 0 * x[..., 1], atol=1e-3)
    assert bijector.log_scale[0] != 0


def test_initialize_leaves_given_tensors():
    bijector = known()
    x = tf.random.stateless_normal([9, 2], seed=[0, 0], dtype=tf.float64)
    tfg.initialize(bijector, x)
    np.testing.assert_array_equal(bijector.shift, SHIFT)
    np.testing.assert_array_equal(bijector.raw_log_scale, LOG_SCALE / 3)


@pytest.mark.parametrize("channels", [0, -1, 2.0, True, None])
def test_rejects_channels_that_are_no_positive_integer(channels):
    with pytest.raises(ValueError, match=r"positive integer.*Received: channels="):
        tfg.ActNormBijector(channels)


@pytest.mark.parametrize("parameter", ["shift", "raw_log_scale"])
def test_rejects_parameters_of_other_channels(parameter):
    with pytest.raises(ValueError, match=rf"`{parameter}` must have .*\(2,\)"):
        tfg.ActNormBijector(3, **{parameter: tf.zeros([2])})


def test_rejects_input_of_other_channels():
    with pytest.raises(ValueError, match=r"act_norm.*3\].*Received: shape=\(4, 2\)"):
        tfg.ActNormBijector(3).inverse(tf.zeros([4, 2]))
