"""Only what is special to GlowAdditiveCoupling."""

import numpy as np
import tensorflow as tf

import tfp_glow as tfg


def test_adds_what_the_network_returns():
    bijector = tfg.GlowAdditiveCoupling(2, network=tf.sin, dtype=tf.float64)
    x = np.random.default_rng(0).normal(size=[3, 2, 4, 2])
    z_b = x[..., 1:] + np.sin(x[..., :1])
    np.testing.assert_allclose(bijector.inverse(x)[..., 1:], z_b)
    assert bijector.inverse_log_det_jacobian(x, event_ndims=3) == 0


def test_starts_as_the_identity():
    bijector = tfg.GlowAdditiveCoupling(4, hidden_channels=4)
    x = tf.random.stateless_normal([2, 4, 4, 4], seed=[0, 0])
    np.testing.assert_array_equal(bijector.inverse(x), x)
