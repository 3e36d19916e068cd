"""Data-dependent initialisation."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import perturb

import tfp_glow as tfg
from tfp_glow.bijectors import GlowLevel, GlowStep, is_initialized
from tfp_glow.bijectors.initialize import initialize_bijector

tfb = tfp.bijectors
tfd = tfp.distributions

BATCH = 16


def batch(*event_shape, seed=0):
    """Images whose channels differ in mean and variance."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, size=[BATCH, *event_shape])
    return tf.constant(x * np.arange(1, event_shape[-1] + 1) - 0.5)


def small_glow(**arguments):
    """A Glow whose couplings do something before and after initialisation."""
    defaults = {"num_levels": 2, "num_steps": 2, "hidden_channels": 4, "seed": 0}
    glow = tfg.Glow([4, 4, 2], dtype=tf.float64, **defaults | arguments)
    perturb(glow)
    return glow


def assert_standard(h):
    """Each channel over the batch has mean 0 and variance 1."""
    h = np.reshape(h, [-1, h.shape[-1]])
    np.testing.assert_allclose(h.mean(0), np.zeros(h.shape[-1]), atol=1e-8)
    np.testing.assert_allclose(h.std(0), np.ones(h.shape[-1]), rtol=1e-4)


def assert_network_standardises(network, x):
    """The hidden layers' act-norms, by openai/glow's explicit edge channel."""
    p = {key: tf.convert_to_tensor(value) for key, value in network.parameters.items()}
    around = [[0, 0], [1, 1], [1, 1], [0, 0]]
    edge = tf.pad(tf.zeros_like(x[..., :1]), around, constant_values=1)
    h = tf.concat([tf.pad(x, around), edge], axis=-1)
    for i in (1, 2):
        h = tf.nn.conv2d(h, p[f"kernel_{i}"], 1, "VALID") + p[f"shift_{i}"]
        h *= tf.exp(3 * p[f"raw_log_scale_{i}"])
        assert_standard(h)
        h = tf.nn.relu(h)


def assert_steps_standardise(level, x):
    """Walks a level by hand; returns what it puts out."""
    h = tfg.Squeeze().inverse(x)
    for step in level.steps:
        a = step.act_norm.inverse(h)
        assert_standard(a)
        y = step.permutation.inverse(a)
        if hasattr(step.coupling.network, "parameters"):
            x_a, _ = tf.split(y, 2, axis=-1)
            assert_network_standardises(step.coupling.network, x_a)
        h = step.coupling.inverse(y)
    return h


def assert_glow_standardises(glow, x):
    for i, level in enumerate(glow.levels):
        x = assert_steps_standardise(level, x)
        if i < len(glow.levels) - 1:
            x = glow.chain.split_priors[i].inverse(x)
            x, _ = tf.split(x, 2, axis=-1)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"coupling": "additive", "permutation": "shuffle"},
        {"permutation": "reverse"},
        {"network_fn": lambda _, n: lambda x: tf.concat([tf.sin(x)] * 2, -1)[..., :n]},
    ],
    ids=["conv", "shuffle", "reverse", "network_fn"],
)
def test_every_act_norm_of_a_glow_standardises_what_reaches_it(arguments):
    glow = small_glow(**arguments)
    x = batch(4, 4, 2)
    assert not is_initialized(glow)
    tfg.initialize(glow, x)
    assert is_initialized(glow)
    assert_glow_standardises(glow, x)


def test_in_a_distribution_within_a_chain_of_tfp():
    glow = small_glow()
    chain = tfb.Chain([tfb.Shift(np.float64(0.3)), tfb.Scale(np.float64(2)), glow])
    base = tfd.Sample(tfd.Normal(np.float64(0), 1.0), [32])
    distribution = tfd.TransformedDistribution(base, chain)
    x = batch(4, 4, 2)
    assert not is_initialized(distribution)
    tfg.initialize(distribution, x)
    assert is_initialized(distribution)
    assert_glow_standardises(glow, (x - 0.3) / 2)


def test_batches_of_another_type_are_cast_where_a_chain_has_no_type():
    vector_to_pixel = tfb.Reshape([1, 1, 2], [2])
    chain = tfb.Chain([tfg.ActNormBijector(2), tfb.Invert(vector_to_pixel)])
    assert chain.dtype is None
    x = np.random.default_rng(0).normal(5.0, 3.0, [64, 2])  # float64
    tfg.initialize(chain, x)
    z = chain.inverse(x.astype("float32"))
    np.testing.assert_allclose(np.mean(z, axis=0).ravel(), 0, atol=1e-5)
    np.testing.assert_allclose(np.std(z, axis=0).ravel(), 1, atol=1e-4)


def test_parts_of_a_chain_get_what_the_parts_before_make_of_the_batch():
    first = tfg.ActNormBijector(4, dtype=tf.float64)
    conv = tfg.LUInvertibleConv(4, seed=0, dtype=tf.float64)
    second = tfg.ActNormBijector(4, dtype=tf.float64)
    coupling = tfg.GlowAffineCoupling(4, hidden_channels=4, dtype=tf.float64)
    level = GlowLevel(4, num_steps=1, hidden_channels=4, dtype=tf.float64)
    chain = tfb.Chain([first, tfb.Chain([conv, second]), coupling, level])
    perturb(chain)
    x = batch(4, 4, 4)
    tfg.initialize(chain, x)
    h = first.inverse(x)
    assert_standard(h)
    h = second.inverse(conv.inverse(h))
    assert_standard(h)
    assert_network_standardises(coupling.network, h[..., :2])
    assert_steps_standardise(level, coupling.inverse(h))


def test_levels_of_a_user_s_own():
    act_norms = [tfg.ActNormBijector(c, dtype=tf.float64) for c in (4, 8)]
    levels = [tfb.Chain([tfg.Squeeze(), act_norm]) for act_norm in act_norms]
    chain = tfg.MultiScaleChain(levels, [4, 4, 1], dtype=tf.float64)
    perturb(chain)
    x = batch(4, 4, 1)
    tfg.initialize(chain, x)
    h = levels[0].inverse(x)
    assert_standard(h)
    h, _ = tf.split(chain.split_priors[0].inverse(h), 2, axis=-1)
    assert_standard(levels[1].inverse(h))


def test_step_alone_gives_what_its_inverse_gives():
    step = GlowStep(
        tfg.ActNormBijector(4, dtype=tf.float64),
        tfg.LUInvertibleConv(4, seed=0, dtype=tf.float64),
        tfg.GlowAffineCoupling(4, hidden_channels=4, dtype=tf.float64),
    )
    perturb(step)
    x = batch(3, 2, 4)
    z = initialize_bijector(step, x, only_new=False)
    np.testing.assert_allclose(z, step.inverse(tf.identity(x)))
    assert_standard(step.act_norm.inverse(x))


def test_labels_reach_the_prior():
    glow = small_glow(num_classes=3)
    x = batch(4, 4, 2)
    labels = tf.range(BATCH) % 3
    with pytest.raises(ValueError, match="needs `labels`"):
        tfg.initialize(glow, x)
    chain = tfb.Chain([tfb.Shift(np.float64(0.3)), glow])
    tfg.initialize(chain, x + 0.3, glow={"labels": labels})
    assert_glow_standardises(glow, x)
    tfg.initialize(glow, 2 * x, labels=labels)
    assert_glow_standardises(glow, 2 * x)


def test_again_overwrites():
    glow, fresh = small_glow(), small_glow()
    x = batch(4, 4, 2, seed=1)
    tfg.initialize(glow, batch(4, 4, 2))
    tfg.initialize(glow, x)
    tfg.initialize(fresh, x)
    for a, b in zip(glow.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(a, b)


def test_only_act_norms_change():
    glow = small_glow()
    before = {key: v.numpy() for key, v in glow.levels[0].stacked.items()}
    tfg.initialize(glow, batch(4, 4, 2))
    changed = {k for k, v in glow.levels[0].stacked.items() if np.any(v != before[k])}
    assert changed == {
        "act_norm/shift",
        "act_norm/raw_log_scale",
        "network/shift_1",
        "network/raw_log_scale_1",
        "network/shift_2",
        "network/raw_log_scale_2",
    }


def make_parts():
    """One of each that has something to initialise, for images of 4 channels."""
    return [
        tfg.ActNormBijector(4, dtype=tf.float64),
        tfg.GlowAdditiveCoupling(4, hidden_channels=4, dtype=tf.float64),
        GlowLevel(4, num_steps=1, hidden_channels=4, dtype=tf.float64),
    ]


@pytest.mark.parametrize("index", range(3))
def test_only_new_leaves_alone_what_is_initialised(index):
    chain = tfb.Chain(make_parts())
    perturb(chain)
    done = chain.bijectors[index]
    x = batch(4, 4, 4)
    initialize_bijector(done, x + 1, only_new=False)
    assert is_initialized(done)
    assert not is_initialized(chain)
    before = [v.numpy() for v in done.variables]
    z = initialize_bijector(chain, x, only_new=True)
    assert is_initialized(chain)
    for variable, value in zip(done.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    # The others are set, each from what the one before makes of the batch.
    np.testing.assert_allclose(z, chain.inverse(tf.identity(x)))
    act_norm, coupling, level = chain.bijectors
    h = act_norm.inverse(x)
    if act_norm is not done:
        assert_standard(h)
    if coupling is not done:
        assert_network_standardises(coupling.network, h[..., :2])
    if level is not done:
        assert_steps_standardise(level, coupling.inverse(h))


def test_that_it_happened_is_saved(tmp_path):
    glow, other = small_glow(), small_glow(seed=1)
    tfg.initialize(glow, batch(4, 4, 2))
    path = tf.train.Checkpoint(glow=glow).write(str(tmp_path / "checkpoint"))
    assert not is_initialized(other)
    tf.train.Checkpoint(glow=other).read(path).assert_consumed()
    assert is_initialized(other)


def test_constant_channels_stay_finite():
    glow = small_glow()
    x = tf.concat([batch(4, 4, 1), tf.fill([BATCH, 4, 4, 1], np.float64(0.1))], axis=-1)
    tfg.initialize(glow, x)
    log_prob = tfg.glow_distribution(glow).log_prob(x)
    assert np.all(np.isfinite(log_prob))
    for variable in glow.trainable_variables:
        assert np.all(np.abs(variable) < 10)


def test_walks_through_other_compositions_of_tfp():
    act_norm = tfg.ActNormBijector(2, dtype=tf.float64)
    blocks = tfb.Blockwise([tfb.Identity(), act_norm], block_sizes=[1, 2])
    x = batch(3)
    tfg.initialize(blocks, x)
    assert_standard(blocks.inverse(x)[:, 1:])


def test_warns_of_what_it_cannot_walk_through():
    act_norm = tfg.ActNormBijector(2, dtype=tf.float64)
    chain = tfb.Chain([tfb.Invert(act_norm), tfg.ActNormBijector(2, dtype=tf.float64)])
    with pytest.warns(UserWarning, match="cannot walk through; they keep their values"):
        tfg.initialize(chain, batch(2))
    np.testing.assert_array_equal(act_norm.shift, [0, 0])
    assert not is_initialized(chain)
    assert is_initialized(chain.bijectors[1])


def test_warns_of_steps_of_a_level():
    level = GlowLevel(1, num_steps=2, hidden_channels=4, dtype=tf.float64)
    x = tf.constant(np.random.default_rng(0).normal(5, 2, [16, 4, 4, 1]))
    of_steps = tfb.Chain([tfg.Squeeze(), *level.steps])
    assert not is_initialized(of_steps)
    for views in (of_steps, tfb.Chain([level.steps[0].coupling])):
        y = tfg.Squeeze().inverse(x) if views is not of_steps else x
        with pytest.warns(UserWarning, match="of a level give it the level"):
            tfg.initialize(views, y)
    np.testing.assert_array_equal(level.steps[0].act_norm.shift, np.zeros(4))
    tfg.initialize(level, x)
    assert is_initialized(of_steps)
    np.testing.assert_allclose(of_steps.inverse(x), level.inverse(x), atol=1e-9)
    # Files of what holds steps hold no more than their parameters.
    assert len(of_steps.variables) == len(level.stacked)


def test_nothing_to_initialise_is_initialised():
    assert is_initialized(tfb.Scale(2.0))
    assert is_initialized(tfg.Squeeze())
    assert is_initialized(tfd.Normal(0.0, 1.0))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (tf.zeros([2, 3], tf.uint8), TypeError, r"dtype=uint8\. Use `dequantize`"),
        (tf.zeros([0, 3]), ValueError, r"at least one example.*shape=\(0, 3\)"),
    ],
)
def test_rejects_batches(x, error, message):
    with pytest.raises(error, match=message):
        tfg.initialize(tfg.ActNormBijector(3), x)


@pytest.mark.parametrize(
    ("bijector", "shape"),
    [
        (tfg.ActNormBijector(3), [2, 4]),
        (tfg.GlowAffineCoupling(4, hidden_channels=4), [2, 4, 4, 6]),
        (GlowLevel(1, num_steps=2, hidden_channels=4), [2, 4, 4, 3]),
    ],
)
def test_rejects_batches_of_other_channels(bijector, shape):
    expected = rf"input of `{bijector.name}` must have shape .*\({shape[0]}, {shape[1]}"
    with pytest.raises(ValueError, match=expected):
        tfg.initialize(bijector, tf.ones(shape))
    assert not is_initialized(bijector)


@pytest.mark.parametrize("thing", [tfd.Normal(0.0, 1.0), "glow"])
def test_rejects_what_holds_no_bijector(thing):
    with pytest.raises(TypeError, match="Expected a bijector or a `tfd.Transformed"):
        tfg.initialize(thing, tf.zeros([2, 3]))


@pytest.mark.parametrize("leading", [[2, 4], [4, 2], [8, 1], [1, 8]])
def test_leading_dimensions_are_one_batch(leading):
    x = tf.random.stateless_normal([8, 8, 8, 1], [0, 0])
    levels = []
    for shape in ([8], leading):
        level = GlowLevel(1, num_steps=2, hidden_channels=4, seed=0)
        tfg.initialize(level, tf.reshape(x, [*shape, 8, 8, 1]))
        levels.append(level)
    for key, value in levels[0].stacked.items():
        np.testing.assert_allclose(levels[1].stacked[key], value, atol=1e-5)
