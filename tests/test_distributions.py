import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg

tfd = tfp.distributions

SHAPE = (4, 4, 1)


def perturbed_glow(event_shape, num_levels):
    glow = tfg.Glow(
        event_shape,
        num_levels=num_levels,
        num_steps=1,
        hidden_channels=4,
        seed=0,
        dtype=tf.float64,
    )
    rng = np.random.default_rng(0)
    for variable in glow.trainable_variables:
        variable.assign_add(rng.normal(scale=0.1, size=variable.shape))
    return glow


@pytest.fixture(scope="module")
def glow():
    return perturbed_glow(SHAPE, num_levels=2)


def images(*leading):
    return tf.constant(np.random.default_rng(1).normal(size=[*leading, *SHAPE]))


def latents_of_samples(glow, temperature, num_samples=3):
    distribution = tfg.glow_distribution(glow, temperature)
    x = distribution.sample(num_samples, seed=[1, 2])
    return glow.inverse(tf.identity(x)).numpy()


@pytest.mark.parametrize("temperature", [1.0, 0.7, [0.5, 1.0, 2.0]])
def test_log_prob_is_that_of_the_latent_plus_the_log_det(glow, temperature):
    x = images(3)
    z = glow.inverse(x)
    std = np.reshape(temperature, [-1, 1])
    log_normal = -((z / std) ** 2) / 2 - np.log(std) - np.log(2 * np.pi) / 2
    log_det = glow.inverse_log_det_jacobian(x, event_ndims=3)
    expected = np.sum(log_normal, axis=-1) + log_det
    actual = tfg.glow_distribution(glow, temperature).log_prob(x)
    np.testing.assert_allclose(actual, expected)


def test_density_integrates_to_1():
    """By importance sampling, from a normal somewhat wider than the distribution."""
    distribution = tfg.glow_distribution(perturbed_glow([2, 2, 1], num_levels=1))
    x = np.reshape(distribution.sample(4000, seed=[0, 1]), [-1, 4])
    proposal = tfd.MultivariateNormalTriL(
        x.mean(0), 1.3 * np.linalg.cholesky(np.cov(x.T))
    )
    x = proposal.sample(4000, seed=[0, 2])
    log_prob = distribution.log_prob(tf.reshape(x, [-1, 2, 2, 1]))
    weights = tf.exp(log_prob - proposal.log_prob(x))
    np.testing.assert_allclose(np.mean(weights), 1, atol=0.05)  # 5 standard errors


def test_temperature_scales_the_latent(glow):
    at_1 = latents_of_samples(glow, 1.0)
    np.testing.assert_allclose(latents_of_samples(glow, 0.7), 0.7 * at_1, atol=1e-10)
    np.testing.assert_allclose(latents_of_samples(glow, 0.0), 0.0 * at_1, atol=1e-10)


def test_each_image_may_have_a_temperature_of_its_own(glow):
    temperatures = np.array([0.5, 1.0])
    distribution = tfg.glow_distribution(glow, temperatures)
    assert distribution.batch_shape == [2]
    assert distribution.event_shape == SHAPE
    z = latents_of_samples(glow, temperatures)
    at_1 = latents_of_samples(glow, np.ones(2))
    np.testing.assert_allclose(z, temperatures[:, None] * at_1, atol=1e-10)


def test_shapes(glow):
    distribution = tfg.glow_distribution(glow)
    assert distribution.dtype == tf.float64
    assert distribution.batch_shape == []
    assert distribution.event_shape == SHAPE
    assert distribution.sample().shape == SHAPE
    assert distribution.sample([2, 3]).shape == (2, 3, *SHAPE)
    assert distribution.log_prob(images()).shape == []
    assert distribution.log_prob(images(2, 3)).shape == [2, 3]


def test_same_seed_gives_the_same_samples(glow):
    distribution = tfg.glow_distribution(glow)
    first, again, other = (distribution.sample(2, seed=[0, s]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_temperature_may_be_a_tensor_of_a_traced_function(glow, jit_compile):
    @tf.function(jit_compile=jit_compile)
    def log_prob(x, temperature):
        return tfg.glow_distribution(glow, temperature).log_prob(x)

    x = images(2)
    for temperature in (0.7, 1.0):
        expected = tfg.glow_distribution(glow, temperature).log_prob(x)
        actual = log_prob(x, tf.constant(temperature, tf.float64))
        np.testing.assert_allclose(actual, expected)


def test_takes_a_multi_scale_chain(glow):
    x = images(2)
    expected = tfg.glow_distribution(glow).log_prob(x)
    actual = tfg.glow_distribution(glow.chain).log_prob(tf.identity(x))
    np.testing.assert_allclose(actual, expected)


def test_variables_are_found(glow):
    found = tfg.glow_distribution(glow).trainable_variables
    assert {id(v) for v in found} == {id(v) for v in glow.trainable_variables}


@pytest.mark.parametrize("temperature", [-0.1, np.nan, np.inf, [1.0, -1.0]])
def test_rejects_temperatures(glow, temperature):
    with pytest.raises(ValueError, match=r"`temperature` must be a finite.*Received: "):
        tfg.glow_distribution(glow, temperature)
