"""Only what is special to GlowStep: folding changes nothing."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, make_perturbed

import tfp_glow as tfg
from tfp_glow.bijectors import GlowStep

tfb = tfp.bijectors


@pytest.mark.parametrize("name", ["step", "step-permute"])
def test_equals_its_parts_in_a_chain(name):
    case = CASES[name]
    step = make_perturbed(case)
    x = case.x(3)
    chain = tfb.Chain([step.act_norm, step.permutation, step.coupling])
    z = chain.inverse(x)
    np.testing.assert_allclose(step.inverse(x), z)
    np.testing.assert_allclose(step.forward(tf.identity(z)), x)
    np.testing.assert_allclose(
        step.inverse_log_det_jacobian(x, event_ndims=3),
        chain.inverse_log_det_jacobian(tf.identity(x), event_ndims=3),
    )


def test_height_and_width_may_be_unknown():
    case = CASES["step"]
    step = make_perturbed(case)
    log_det = tf.function(
        lambda x: step.inverse_log_det_jacobian(x, event_ndims=3),
        input_signature=[tf.TensorSpec([None, None, None, 4], tf.float64)],
    )
    x = case.x(3)
    expected = step.inverse_log_det_jacobian(x, event_ndims=3)
    np.testing.assert_allclose(log_det(x), expected)


def test_large_scales_lose_no_digits():
    """A channel of tiny variance far from 0: (x + shift) comes before the scale."""
    step = GlowStep(
        tfg.ActNormBijector(2, shift=[-100.0, 0.0], raw_log_scale=[3.0, 0.0]),
        tfg.LUInvertibleConv(2, seed=0),
        tfg.GlowAdditiveCoupling(2, hidden_channels=4),
    )
    x = tf.constant([[[[100.0, 0.0]]]])
    np.testing.assert_array_equal(step.inverse(x), tf.zeros_like(x))


def test_any_bijector_is_a_permutation_with_its_own_log_det():
    step = GlowStep(
        tfg.ActNormBijector(2, raw_log_scale=tf.constant([0.1, -0.2])),
        tfb.Scale(3.0),
        tfg.GlowAdditiveCoupling(2, hidden_channels=4),
    )
    x = tf.ones([1, 2, 2, 2])
    expected = 4 * 3 * (0.1 - 0.2) - 8 * np.log(3.0)
    actual = step.inverse_log_det_jacobian(x, 3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    z = tf.identity(step.inverse(x))
    np.testing.assert_allclose(step.forward(z), x, rtol=1e-5)
    np.testing.assert_allclose(step.forward_log_det_jacobian(z, 3), -actual, rtol=1e-5)
