import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg

tfd = tfp.distributions

SHAPE = (4, 4, 1)


def perturbed_glow(event_shape, num_levels, **arguments):
    glow = tfg.Glow(
        event_shape,
        num_levels=num_levels,
        num_steps=1,
        hidden_channels=4,
        seed=0,
        dtype=tf.float64,
        **arguments,
    )
    rng = np.random.default_rng(0)
    for variable in glow.trainable_variables:
        variable.assign_add(rng.normal(scale=0.1, size=variable.shape))
    return glow


@pytest.fixture(scope="module")
def glow():
    return perturbed_glow(SHAPE, num_levels=2)


@pytest.fixture(scope="module")
def conditional():
    return perturbed_glow(SHAPE, num_levels=1, num_classes=3)


def images(*leading):
    return tf.constant(np.random.default_rng(1).normal(size=[*leading, *SHAPE]))


def latents_of_samples(glow, temperature, num_samples=3):
    distribution = tfg.glow_distribution(glow, temperature)
    x = distribution.sample(num_samples, seed=[1, 2])
    return glow.inverse(tf.identity(x)).numpy()


@pytest.mark.parametrize(
    "name",
    ["log_prob", "prob", "unnormalized_log_prob", "experimental_local_measure"],
)
@pytest.mark.parametrize("as_given", [np.asarray, tf.constant])
def test_whole_numbers_are_no_images_of_a_density(glow, as_given, name):
    x = as_given(np.zeros([1, *SHAPE], np.uint8))
    with pytest.raises(TypeError, match=r"`value`.*dtype=uint8.*`dequantize`"):
        getattr(tfg.glow_distribution(glow), name)(x)


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


def test_nested_samples_are_a_flat_batch(glow):
    distribution = tfg.glow_distribution(glow)
    x, log_prob = distribution.experimental_sample_and_log_prob([2, 3], seed=[0, 1])
    assert x.shape == (2, 3, *SHAPE)
    np.testing.assert_array_equal(x, distribution.sample([2, 3], seed=[0, 1]))
    flat = distribution.log_prob(tf.reshape(x, [6, *SHAPE]))
    np.testing.assert_allclose(log_prob, tf.reshape(flat, [2, 3]))
    np.testing.assert_allclose(distribution.log_prob(tf.identity(x)), log_prob)
    np.testing.assert_allclose(distribution.prob(tf.identity(x)), np.exp(log_prob))


def test_labels_of_nested_samples(conditional):
    """One label a column, for each of the rows, as TFP broadcasts a batch."""
    distribution = tfg.glow_distribution(conditional)
    columns = {"labels": [0, 1, 2]}
    x = distribution.sample([2, 3], seed=[0, 1], bijector_kwargs=columns)
    actual = distribution.log_prob(tf.identity(x), bijector_kwargs=columns)
    all_labels = {"labels": np.array([[0, 1, 2], [0, 1, 2]])}
    expected = distribution.log_prob(tf.identity(x), bijector_kwargs=all_labels)
    np.testing.assert_allclose(actual, expected)
    for k in range(3):
        one = distribution.log_prob(x[:, k], bijector_kwargs={"labels": [k, k]})
        np.testing.assert_allclose(actual[:, k], one)


def test_same_seed_gives_the_same_samples(glow):
    distribution = tfg.glow_distribution(glow)
    first, again, other = (distribution.sample(2, seed=[0, s]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.all(first != other)
    seed = tfp.random.sanitize_seed(tf.constant([0, 1]))
    traced = tf.function(lambda seed: distribution.sample(2, seed=seed))
    np.testing.assert_allclose(traced(seed), first)


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


@pytest.mark.parametrize("hold", ["distribution", "module", "joint", "mixture"])
def test_variables_are_found(glow, hold):
    distribution = tfg.glow_distribution(glow, [0.5, 1.0])
    if hold == "module":
        module = tf.Module()
        module.distribution = distribution
        distribution = module
    elif hold == "joint":
        distribution = tfd.JointDistributionNamed({"x": distribution})
    elif hold == "mixture":
        distribution = tfd.MixtureSameFamily(
            tfd.Categorical(logits=[0.0, 0.0]), distribution
        )
    found = distribution.trainable_variables
    assert {id(v) for v in found} == {id(v) for v in glow.trainable_variables}


@pytest.mark.parametrize(
    "temperature",
    [
        tf.Variable(0.7, dtype=tf.float64),
        tfp.util.TransformedVariable(np.float64(0.7), tfp.bijectors.Softplus()),
    ],
    ids=["variable", "transformed_variable"],
)
def test_temperature_may_be_learned(glow, temperature):
    distribution = tfg.glow_distribution(glow, temperature)
    expected = tfg.glow_distribution(glow, 0.7).log_prob(images(2))
    with tf.GradientTape() as tape:
        log_prob = distribution.log_prob(images(2))
    np.testing.assert_allclose(log_prob, expected)
    (variable,) = (
        temperature.trainable_variables
        if hasattr(temperature, "trainable_variables")
        else [temperature]
    )
    assert any(v is variable for v in distribution.trainable_variables)
    assert tape.gradient(log_prob, variable) > 0  # 0.7 is too low for these
    variable.assign_add(0.1)
    assert np.all(distribution.log_prob(images(2)) > log_prob)
    variable.assign_sub(0.1)


@pytest.mark.parametrize("name", ["lu_invertible_conv", "step"])
def test_slices_of_distributions_of_parts(glow, name):
    step = glow.levels[0].steps[0]
    bijector = step.permutation if name == "lu_invertible_conv" else step
    channels = step.act_norm.shift.shape[0]
    base = tfd.Sample(tfd.Normal(tf.zeros([2], tf.float64), 1.0), [3, 3, channels])
    distribution = tfd.TransformedDistribution(base, bijector)
    x = distribution.sample(seed=[1, 2])
    expected = distribution.log_prob(x)
    np.testing.assert_allclose(distribution[1].log_prob(x[1]), expected[1])
    np.testing.assert_allclose(distribution[:1].log_prob(x[:1]), expected[:1])


def test_copies_and_slices_are_of_the_same_glow(glow):
    distribution = tfg.glow_distribution(glow, [0.5, 1.0])
    x = images()
    expected = distribution.log_prob(x)
    copy = distribution.copy(name="copy")
    assert copy.name == "copy"
    assert copy.bijector is glow
    np.testing.assert_array_equal(copy.log_prob(x), expected)
    for k in range(2):
        np.testing.assert_allclose(distribution[k].log_prob(x), expected[k])
        assert type(distribution[k]) is type(distribution)


def test_kl_divergence_between_temperatures_is_exact(glow):
    low, high = tfg.glow_distribution(glow, [0.5, 1.0]), tfg.glow_distribution(glow, 2)
    ratio = np.array([0.5, 1.0]) / 2
    expected = 16 * (ratio**2 / 2 - np.log(ratio) - 0.5)
    np.testing.assert_allclose(tfd.kl_divergence(low, high), expected)
    np.testing.assert_allclose(low.kl_divergence(high), expected)
    plain = tfd.TransformedDistribution(high.distribution, glow)
    np.testing.assert_allclose(tfd.kl_divergence(low, plain), expected)
    np.testing.assert_allclose(
        tfd.kl_divergence(plain, low)[1], 16 * (2 - np.log(2) - 0.5)
    )


def test_kl_divergence_that_is_unknown_says_how_to_estimate_it(glow, conditional):
    distribution = tfg.glow_distribution(glow, 0.7)
    normal = tfd.Independent(tfd.Normal(np.zeros(SHAPE), 1.0), 3)
    message = r"KL.*Received: .*a=.*b=.*by sampling: `x, log_prob = a.experimental"
    for pair in (
        (distribution, normal),
        (normal, distribution),
        (distribution, tfg.glow_distribution(conditional)),
        (distribution, tfd.TransformedDistribution(normal, tfp.bijectors.Exp())),
    ):
        with pytest.raises(NotImplementedError, match=message):
            tfd.kl_divergence(*pair)
    # The recipe works, here where the answer is known: a sum over 16 normals.
    b = tfg.glow_distribution(glow, 1.0)
    x, log_prob = distribution.experimental_sample_and_log_prob(1000, seed=[0, 1])
    estimate = tf.reduce_mean(log_prob - b.log_prob(tf.identity(x)), axis=0)
    np.testing.assert_allclose(estimate, distribution.kl_divergence(b), rtol=0.1)


def test_component_of_a_joint_distribution(glow):
    """A temperature of unknown value, an image, and a noisy look at its mean."""
    joint = tfd.JointDistributionNamed(
        {
            "temperature": tfd.Gamma(np.float64(9), 9.0),
            "x": lambda temperature: tfg.glow_distribution(glow, temperature),
            "y": lambda x: tfd.Normal(tf.reduce_mean(x, [-3, -2, -1]), 1.0),
        }
    )
    values = joint.sample([2, 3], seed=[0, 1])
    assert values["x"].shape == (2, 3, *SHAPE)
    expected = sum(
        part.log_prob(tf.identity(value))
        for part, value in (
            (tfd.Gamma(np.float64(9), 9.0), values["temperature"]),
            (tfg.glow_distribution(glow, values["temperature"]), values["x"]),
            (tfd.Normal(tf.reduce_mean(values["x"], [2, 3, 4]), 1.0), values["y"]),
        )
    )
    new = tf.nest.map_structure(tf.identity, values)
    np.testing.assert_allclose(joint.log_prob(new), expected)
    one = {key: value[1, 2] for key, value in values.items()}
    np.testing.assert_allclose(joint.log_prob(one), expected[1, 2])


def test_mixtures(glow):
    """Over temperatures of the images, and over places in the latent space."""
    log_weights = np.log([0.2, 0.3, 0.5])
    weights = tfd.Categorical(logits=log_weights)
    temperatures = [0.5, 1.0, 2.0]
    mixture = tfd.MixtureSameFamily(weights, tfg.glow_distribution(glow, temperatures))
    x = mixture.sample([2, 3], seed=[0, 1])
    assert x.shape == (2, 3, *SHAPE)
    each = [tfg.glow_distribution(glow, t).log_prob(x) for t in temperatures]
    expected = tf.reduce_logsumexp(np.stack(each, -1) + log_weights, axis=-1)
    np.testing.assert_allclose(mixture.log_prob(tf.identity(x)), expected)

    places = tfd.MultivariateNormalDiag(np.random.default_rng(0).normal(size=[3, 16]))
    mixture = tfd.MixtureSameFamily(weights, tfd.TransformedDistribution(places, glow))
    of_latents = tfd.TransformedDistribution(
        tfd.MixtureSameFamily(weights, places), glow
    )
    x = of_latents.sample([2, 3], seed=[0, 1])
    np.testing.assert_allclose(mixture.log_prob(tf.identity(x)), of_latents.log_prob(x))


def test_mcmc_over_latents(glow):
    """Given a pixel, up to noise: the chain moves in the latents, not in the images.

    The noise is large, so that a weighted mean of samples is close to the truth.
    """
    distribution = tfg.glow_distribution(glow)
    seen = 0.5

    def log_likelihood(x):
        return tfd.Normal(np.float64(seen), 1.0).log_prob(x[..., 1, 2, 0])

    kernel = tfp.mcmc.TransformedTransitionKernel(
        tfp.mcmc.HamiltonianMonteCarlo(
            lambda x: distribution.log_prob(x) + log_likelihood(x),
            step_size=np.float64(0.35),
            num_leapfrog_steps=4,
        ),
        bijector=distribution.bijector,
    )
    sample = tf.function(
        lambda: tfp.mcmc.sample_chain(
            50,
            distribution.sample(50, seed=[0, 1]),
            kernel=kernel,
            num_burnin_steps=20,
            seed=[0, 2],
            trace_fn=lambda _, results: results.inner_results.is_accepted,
        )
    )
    x, is_accepted = sample()
    assert x.shape == (50, 50, *SHAPE)
    assert 0.6 < np.mean(is_accepted)
    prior = distribution.sample(20_000, seed=[0, 3])
    weights = tf.nn.softmax(log_likelihood(prior))
    expected = np.sum(weights * prior[:, 1, 2, 0])
    before = np.mean(prior[:, 1, 2, 0])
    np.testing.assert_allclose(np.mean(x[:, :, 1, 2, 0]), expected, atol=0.1)
    assert abs(expected - before) > 0.2


def test_event_space_bijector_is_glow(glow):
    """What TFP's samplers and variational inference ask a distribution for."""
    bijector = tfg.glow_distribution(glow).experimental_default_event_space_bijector()
    z = tf.random.stateless_normal([2, 16], [0, 1], dtype=tf.float64)
    np.testing.assert_array_equal(bijector.forward(z), glow.forward(tf.identity(z)))


@pytest.mark.parametrize("temperature", [-0.1, np.nan, np.inf, [1.0, -1.0]])
def test_rejects_temperatures(glow, temperature):
    with pytest.raises(ValueError, match=r"`temperature` must be a finite.*Received: "):
        tfg.glow_distribution(glow, temperature)
