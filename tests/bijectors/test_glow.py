"""Only what is special to Glow."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, make_perturbed, perturb

import tfp_glow as tfg

tfb = tfp.bijectors
tfd = tfp.distributions

NUM_EVALUATIONS = 4  # a network for each of two levels' two steps


def small(event_shape=(4, 4, 1), **arguments):
    defaults = {"num_levels": 2, "num_steps": 2, "hidden_channels": 4, "seed": 0}
    return tfg.Glow(event_shape, **defaults | arguments)


def images(*leading):
    return CASES["glow"].x(*leading, dtype=tf.float32)


def counted(**arguments):
    """A Glow, and a list that grows by one at each evaluation of a network."""
    evaluations = []

    def network(x):
        evaluations.append(x)
        return tf.concat([tf.sin(x), tf.cos(x)], axis=-1)

    glow = small(network_fn=lambda channels_in, channels_out: network, **arguments)
    evaluations.clear()  # networks are tried out when a Glow is made
    return glow, evaluations


@pytest.fixture(params=["eager", "traced"])
def call(request):
    """Calls a function as it is, or while it is traced."""
    if request.param == "eager":
        return lambda function, *arguments: function(*arguments)
    return lambda function, *arguments: tf.function(function)(*arguments)


def in_a_chain(glow):
    """The user's distribution: Glow, and bijectors of TFP's around it."""
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [16])
    chain = tfb.Chain([tfb.Shift(0.1), glow, tfb.Scale(2.0)])
    return tfd.TransformedDistribution(base, chain)


@pytest.mark.parametrize("make", [tfg.glow_distribution, in_a_chain])
def test_log_prob_evaluates_each_network_once(make, call):
    glow, evaluations = counted()
    log_prob = call(make(glow).log_prob, images(3))
    assert np.all(np.isfinite(log_prob))
    assert len(evaluations) == NUM_EVALUATIONS


@pytest.mark.parametrize("wrap", [np.array, tf.constant])
def test_log_prob_given_labels_evaluates_each_network_once(wrap):
    glow, evaluations = counted(num_classes=3)
    kwargs = {"labels": wrap([0, 2, 1])}
    tfg.glow_distribution(glow).log_prob(images(3), bijector_kwargs=kwargs)
    assert len(evaluations) == NUM_EVALUATIONS


@pytest.mark.parametrize("make", [tfg.glow_distribution, in_a_chain])
def test_sample_evaluates_each_network_once(make, call):
    glow, evaluations = counted()
    call(lambda: make(glow).sample(3, seed=[0, 1]))
    assert len(evaluations) == NUM_EVALUATIONS


def test_sample_and_its_log_prob_evaluate_each_network_once(call):
    glow, evaluations = counted()
    distribution = tfg.glow_distribution(glow)
    x, log_prob = call(
        lambda: distribution.experimental_sample_and_log_prob(3, seed=[0, 1])
    )
    assert len(evaluations) == NUM_EVALUATIONS
    again = distribution.log_prob(tf.identity(x))  # not from the cache
    np.testing.assert_allclose(again, log_prob, rtol=1e-5)


def test_gradient_evaluates_each_network_once(call):
    glow, evaluations = counted()
    x = images(3)
    call(lambda: tfp.math.value_and_gradient(tfg.glow_distribution(glow).log_prob, x))
    assert len(evaluations) == NUM_EVALUATIONS


def test_number_of_variables_does_not_grow_with_steps():
    few, many = (small(num_steps=k) for k in (2, 5))
    assert len(many.variables) == len(few.variables) < 45
    assert len(many.trainable_variables) == len(few.trainable_variables)


def test_equals_its_levels_and_priors_by_hand():
    case = CASES["glow"]
    glow = make_perturbed(case)
    x = case.x(3)
    fine = glow.chain.split_priors[0].inverse(glow.levels[0].inverse(x))
    kept, finished = tf.split(fine, 2, axis=-1)
    top = glow.chain.top_prior.inverse(glow.levels[1].inverse(kept))
    expected = tf.concat([tf.reshape(z, [3, 8]) for z in (finished, top)], axis=-1)
    np.testing.assert_allclose(glow.inverse(x), expected)


def test_same_seed_gives_the_same_weights():
    first, again, other = (small(seed=seed) for seed in (1, 1, 2))
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    for key in ("network/kernel_1", "permutation/lower"):
        assert np.any(first.levels[0].stacked[key] != other.levels[0].stacked[key])
        assert np.any(
            first.levels[0].stacked[key][..., :2, :2]
            != first.levels[1].stacked[key][..., :2, :2]
        )


def test_a_model_without_a_seed_follows_keras_s():
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        models.append(
            tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
        )
    models.append(
        tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    )
    first, again, other = (model.glow.levels[0].stacked for model in models)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)
    assert np.any(first["network/kernel_1"] != other["network/kernel_1"])


def test_without_a_learned_top_prior_there_is_none():
    glow = small(learn_top_prior=False)
    assert glow.chain.top_prior is None
    learned = len(small().trainable_variables)
    assert len(glow.trainable_variables) == learned - 3


def with_classes():
    glow = small(num_classes=3)
    perturb(glow)
    return glow


def test_labels_change_log_prob_and_samples_of_a_distribution():
    distribution = tfg.glow_distribution(with_classes())
    x = images(2)
    by_class = [
        distribution.log_prob(x, bijector_kwargs={"labels": [label] * 2})
        for label in range(3)
    ]
    mixed = distribution.log_prob(x, bijector_kwargs={"labels": [2, 1]})
    np.testing.assert_allclose(mixed, [by_class[2][0], by_class[1][1]], rtol=1e-6)
    assert np.all(by_class[1] != by_class[2])
    samples = [
        distribution.sample(2, seed=[0, 1], bijector_kwargs={"labels": [label] * 2})
        for label in range(2)
    ]
    assert np.any(samples[0] != samples[1])


def test_labels_go_under_the_bijector_s_name_in_a_chain():
    glow = with_classes()
    alone = tfg.glow_distribution(glow)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [16])
    chain = tfd.TransformedDistribution(base, tfb.Chain([tfb.Shift(0.1), glow]))
    x = images(2)
    for labels in ([0, 2], [1, 1]):
        expected = alone.log_prob(x - 0.1, bijector_kwargs={"labels": labels})
        actual = chain.log_prob(x, bijector_kwargs={glow.name: {"labels": labels}})
        np.testing.assert_allclose(actual, expected, rtol=1e-5)
    # TFP drops what is not under a name; the labels are then missed.
    with pytest.raises(ValueError, match=r"\{\"glow\": \{\"labels\": labels\}\}"):
        chain.log_prob(x, bijector_kwargs={"labels": [0, 2]})


def test_labels_pass_through_invert():
    glow = with_classes()
    x = images(2)
    expected = glow.inverse(x, labels=[0, 2])
    actual = tfb.Invert(glow).forward(tf.identity(x), labels=[0, 2])
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("num_classes", "kwargs", "message"),
    [
        (3, {}, r"needs `labels`, integers in \[0, 3\)\. Received: none"),
        (None, {"labels": [0, 0]}, r"takes no `labels`\. Received: labels"),
        (3, {"labels": [0, 3]}, r"must be in \[0, 3\)\. Received: labels from 0 to 3"),
        (3, {"labels": [[0], [1]]}, r"one label an image.*shape=\(2, 1\)"),
    ],
)
@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_rejects_labels(num_classes, kwargs, message, direction):
    glow = small(num_levels=1, num_classes=num_classes)
    argument = images(2) if direction == "inverse" else tf.zeros([2, 16])
    with pytest.raises(ValueError, match=message):
        getattr(glow, direction)(argument, **kwargs)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"coupling": "Afine"}, ValueError, r"`coupling`.*Did you mean 'affine'\?"),
        (
            {"permutation": "inverse"},
            ValueError,
            r"`permutation`.*Did you mean 'reverse'\?",
        ),
        ({"memory": "store"}, ValueError, r"`memory`.*Did you mean 'stored'\?"),
        (
            {"event_shape": (28, 28, 1), "num_levels": 3},
            ValueError,
            r"`num_levels`=3 needs .*divisible by 8\. Received: .*\(28, 28, 1\)\. Pad",
        ),
        ({"event_shape": (4, 4)}, ValueError, r"three positive numbers.*\(4, 4\)"),
        ({"event_shape": (4, 4, None)}, ValueError, r"three positive.*None"),
        ({"event_shape": (4, 4, 0)}, ValueError, r"three positive numbers.*0\)"),
        ({"dtype": tf.int32}, TypeError, r"`dtype` must be .*floating.*tf\.int32"),
        ({"network_dtype": "int8"}, TypeError, r"`network_dtype` must be .*'int8'"),
        ({"network_dtype": "bfloat17"}, TypeError, r"`network.*mean 'bfloat16'\?"),
        ({"network_dtype": "mixed_bfloat16"}, TypeError, r"Did you mean 'bfloat16'\?"),
        ({"network_fn": 5}, TypeError, r"`network_fn` must be callable.*=5"),
        ({"num_classes": 0}, ValueError, r"`num_classes` must be a positive integer"),
        ({"learn_top_prior": "no"}, ValueError, r"`learn_top_prior` must be one of"),
        ({"num_levels": 0}, ValueError, r"`num_levels` must be a positive integer"),
        ({"num_steps": 1.5}, ValueError, r"`num_steps` must be a positive integer"),
        ({"hidden_channels": -1}, ValueError, r"`hidden_channels` must be a positive"),
    ],
)
def test_rejects(arguments, error, message):
    with pytest.raises(error, match=message):
        small(**arguments)


def test_rejects_inputs_of_another_shape():
    glow = small()
    with pytest.raises(ValueError, match=r"`glow`.*4, 4, 1\].*shape=\(2, 4, 4, 3\)"):
        glow.inverse(tf.zeros([2, 4, 4, 3]))
    with pytest.raises(ValueError, match=r"16\]\. Received: shape=\(2, 15\)"):
        glow.forward(tf.zeros([2, 15]))


def test_equality_is_of_what_a_bijector_is_made_of():
    """TFP's cache is shared by bijectors that are equal, and looks them up by hash."""
    glow, other = small(), small()
    assert glow == glow.copy()
    assert hash(glow) == hash(glow.copy())
    assert glow != other
    assert glow != glow.copy(name="another")
    assert len({glow, glow.copy(), other}) == 2


def test_a_pickle_holds_no_views_and_no_hash():
    glow = with_classes()
    x, labels = images(2), [0, 2]
    z = glow.inverse(x, labels=labels)
    steps = glow.levels[0].steps
    hash(glow)
    other = pickle.loads(pickle.dumps(glow))
    np.testing.assert_array_equal(other.inverse(x, labels=labels), z)
    assert hash(other) == hash(other.copy())
    shift = other.levels[0].stacked["act_norm/shift"]
    shift.assign(tf.ones_like(shift))
    np.testing.assert_array_equal(other.levels[0].steps[1].act_norm.shift, shift[1])
    assert np.all(steps[1].act_norm.shift != shift[1])


def test_a_bounded_scale_is_bounded_at_every_coupling_and_split():
    glow = small(scale="bounded")
    perturb(glow)
    for level in glow.levels:
        bias = level.stacked["network/bias_3"]
        bias.assign(tf.fill(bias.shape, -100.0))
    split = glow.chain.split_priors[0]
    split.network.parameters["bias"].assign([1000.0] * 4)
    x = images(2)
    h = glow.levels[0].inverse(x)
    for step in glow.levels[0].steps:
        np.testing.assert_allclose(step.coupling.log_scale(h), -0.25, rtol=1e-5)
    np.testing.assert_allclose(split.log_scale(h), 3.0, rtol=1e-5)
    assert np.all(np.isfinite(glow.forward(tf.identity(glow.inverse(x)))))


@pytest.mark.parametrize("dtype", ["float64", np.float64, tf.float64])
def test_types_by_any_name(dtype):
    glow = small(dtype=dtype, network_dtype="bfloat16")
    assert glow.dtype == tf.float64
    assert glow.levels[0].steps[0].coupling.network.compute_dtype == tf.bfloat16


def test_memory_of_a_level_is_checked():
    with pytest.raises(ValueError, match="Did you mean 'reversible'"):
        small().levels[0].memory = "reversable"


def test_levels_of_others_keep_their_activations():
    levels = [tfb.Chain([tfb.Scale(2.0), tfg.Squeeze(2)])]
    chain = tfg.MultiScaleChain(levels, [4, 4, 1], top_prior=None)
    for memory in ("auto", "stored"):
        assert small(chain=chain, num_levels=1, memory=memory).memory == "stored"
    with pytest.raises(ValueError, match=r"levels of tfp_glow.*Received: chain.*Chain"):
        small(chain=chain, num_levels=1, memory="reversible")
    merged = small(memory="reversible").merged()  # one of ours that is not trained
    assert merged.memory == "stored"


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_given_chain_is_taken_as_it_is(dtype):
    glow = small(num_levels=1, dtype=dtype)
    same = tfg.Glow([4, 4, 1], chain=glow.chain)  # whose default is 3 levels
    assert same.dtype == dtype
    assert same.parameters["num_levels"] == 1
    x = tf.cast(images(2), dtype)
    np.testing.assert_array_equal(same.inverse(x), glow.inverse(x))
    assert same.copy(name="copy").chain is glow.chain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "float64"}, r"`dtype` must be.*`chain`, tf.float32.*tf.float64"),
        (
            {"event_shape": (8, 8, 1)},
            r"`event_shape` must be.*`chain`, \(4, 4, 1\).*Received:.*\(8, 8, 1\)",
        ),
    ],
)
def test_rejects_what_a_given_chain_is_not(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(chain=small().chain, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_steps": 7},
        {"dtype": tf.float64},
        {"event_shape": [8, 8, 1]},
        {"coupling": "additive", "name": "copy"},
    ],
)
def test_copy_rejects_what_its_chain_cannot_follow(arguments):
    name, value = next(iter(arguments.items()))
    with pytest.raises(ValueError, match="A copy makes no new variables") as caught:
        small().copy(**arguments)
    assert f"Received: {name}={value!r}. Make" in str(caught.value)
    with pytest.raises(TypeError, match="num_stps"):
        small().copy(num_stps=7)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (lambda: tfg.ActNormBijector(4), {"dtype": tf.float64}),
        (lambda: tfg.LUInvertibleConv(4), {"seed": 5}),
        (lambda: tfg.GlowAffineCoupling(4, hidden_channels=4), {"hidden_channels": 8}),
        (lambda: small().levels[0], {"num_steps": 1}),
        (lambda: small().chain.top_prior, {"num_classes": 3}),
    ],
)
def test_copies_of_parts_reject_what_would_shape_new_variables(make, arguments):
    with pytest.raises(ValueError, match="A copy makes no new variables.*Received: "):
        make().copy(**arguments)


def test_a_merged_flow_equals_its_copy():
    merged = small().merged()
    assert merged == merged.copy()
