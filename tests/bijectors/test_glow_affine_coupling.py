"""Only what is special to GlowAffineCoupling."""

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.bijectors.glow_affine_coupling import bounded_log_scale


def network(x):
    """Shift `2 x`, raw scale `x - 1`."""
    return tf.concat([2 * x, x - 1], axis=-1)


def log_sigmoid(raw):
    return -np.log1p(np.exp(-raw))


@pytest.mark.parametrize(
    ("arguments", "log_scale_fn"),
    [
        ({}, lambda raw: log_sigmoid(raw + 2)),
        ({"log_scale_fn": tf.identity}, lambda raw: raw),
        ({"log_scale_fn": bounded_log_scale}, lambda raw: np.tanh(4 * raw) / 4),
        ({"log_scale_fn": tf.math.sin}, np.sin),
    ],
    ids=["sigmoid", "exp", "bounded", "custom"],
)
def test_shifts_first_and_scales_then(arguments, log_scale_fn):
    bijector = tfg.GlowAffineCoupling(2, network=network, dtype=tf.float64, **arguments)
    x = np.random.default_rng(0).normal(size=[3, 2, 4, 2])
    x_a, x_b = x[..., :1], x[..., 1:]
    log_scale = log_scale_fn(x_a - 1)
    z_b = (x_b + 2 * x_a) * np.exp(log_scale)
    np.testing.assert_allclose(bijector.inverse(x)[..., 1:], z_b)
    log_det = bijector.inverse_log_det_jacobian(x, event_ndims=3)
    np.testing.assert_allclose(log_det, log_scale.sum(axis=(1, 2, 3)))
    np.testing.assert_allclose(bijector.log_scale(x), log_scale)


def test_starts_as_a_scaling_by_sigmoid_of_2():
    bijector = tfg.GlowAffineCoupling(4, hidden_channels=4, dtype=tf.float64)
    x = tf.random.stateless_normal([2, 4, 4, 4], seed=[0, 0], dtype=tf.float64)
    expected = x * np.repeat([1, 1 / (1 + np.exp(-2))], 2)
    np.testing.assert_allclose(bijector.inverse(x), expected)


def test_copy_keeps_the_scale_function():
    bijector = tfg.GlowAffineCoupling(2, network=network, log_scale_fn=tf.identity)
    x = tf.ones([1, 2, 2, 2])
    np.testing.assert_array_equal(bijector.copy().inverse(x), bijector.inverse(x))
