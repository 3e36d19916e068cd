"""Only what is special to GlowLevel: stacked parameters and their views."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, make_perturbed, operations

import tfp_glow as tfg
from tfp_glow.bijectors import GlowLevel


class Times(tf.Module):
    """A network that multiplies by a weight."""

    def __init__(self, weight):
        super().__init__()
        self.weight = tf.Variable(weight, dtype=tf.float64)

    def __call__(self, x):
        return tf.concat([x, x], axis=-1) * self.weight


LEVELS = ["level", "level-shuffle", "level-reverse"]


def small(**arguments):
    return GlowLevel(1, hidden_channels=4, seed=0, dtype=tf.float64, **arguments)


@pytest.mark.parametrize("name", LEVELS)
def test_equals_a_squeeze_and_its_steps_in_order(name):
    case = CASES[name]
    level = make_perturbed(case)
    x = case.x(3)
    h = tfg.Squeeze().inverse(x)
    log_det = 0.0
    for k in range(level.num_steps):
        log_det += level.steps[k].inverse_log_det_jacobian(h, event_ndims=3)
        h = level.steps[k].inverse(h)
    np.testing.assert_allclose(level.inverse(x), h)
    actual = level.inverse_log_det_jacobian(x, event_ndims=3)
    np.testing.assert_allclose(actual, log_det)


def test_steps_are_views_of_the_stacked_variables():
    level = small(num_steps=3)
    shift = level.stacked["act_norm/shift"]
    step = level.steps[1]
    shift.assign(tf.reshape(tf.range(12, dtype=tf.float64), [3, 4]))
    np.testing.assert_array_equal(step.act_norm.shift, [4, 5, 6, 7])
    assert any(v is shift for v in step.trainable_variables)
    ids = [id(v) for v in level.variables]
    assert len(ids) == len(set(ids)) == len(level.stacked) + 1  # and `initialized`


@pytest.mark.parametrize("permutation", ["invertible_conv", "shuffle", "reverse"])
def test_number_of_variables_does_not_grow_with_steps(permutation):
    few, many = (small(num_steps=k, permutation=permutation) for k in (2, 5))
    assert len(many.variables) == len(few.variables)
    assert len(many.trainable_variables) == len(few.trainable_variables)
    for variable in many.trainable_variables:
        assert variable.shape[0] == 5


@pytest.mark.parametrize("permutation", ["invertible_conv", "shuffle", "reverse"])
def test_steps_first_seen_in_a_function_are_of_use_outside(permutation):
    level = small(num_steps=2, permutation=permutation)
    h = tf.random.stateless_normal([1, 2, 2, 4], seed=[0, 0], dtype=tf.float64)
    inside = tf.function(lambda h: level.steps[1].inverse(h))(h)
    np.testing.assert_allclose(level.steps[1].inverse(h), inside)
    again = tf.function(lambda h: level.steps[1].forward(h))(inside)
    np.testing.assert_allclose(again, h)


def test_steps_start_different():
    first, second = small(num_steps=2).steps
    assert np.any(first.permutation.matrix() != second.permutation.matrix())
    kernels = [step.coupling.network.parameters["kernel_1"] for step in (first, second)]
    assert np.any(tf.not_equal(*kernels))


def test_shuffle_orders_the_channels_as_the_paper_does():
    level = small(num_steps=1, permutation="shuffle", coupling="additive")
    order = level.stacked["permutation/order"].numpy()[0]
    assert sorted(order) == [0, 1, 2, 3]
    x = tf.random.stateless_normal([2, 4, 4, 1], seed=[0, 0], dtype=tf.float64)
    expected = tfg.Squeeze().inverse(x).numpy()[..., order]
    np.testing.assert_array_equal(level.inverse(x), expected)


def test_reverse_turns_the_channels_round():
    level = small(num_steps=1, permutation="reverse", coupling="additive")
    x = tf.random.stateless_normal([2, 4, 4, 1], seed=[0, 0], dtype=tf.float64)
    expected = tfg.Squeeze().inverse(x).numpy()[..., ::-1]
    np.testing.assert_array_equal(level.inverse(x), expected)


def test_shuffle_and_reverse_train_nothing_of_the_permutation():
    for permutation in ("shuffle", "reverse"):
        names = [v.name for v in small(permutation=permutation).trainable_variables]
        assert not [name for name in names if "permutation" in name]


def test_network_fn_makes_a_network_for_each_step():
    asked = []

    def network_fn(channels_in, channels_out):
        asked.append((channels_in, channels_out))
        return Times(float(len(asked)))

    level = small(num_steps=3, network_fn=network_fn)
    assert asked == [(2, 4)] * 3
    assert not [key for key in level.stacked if key.startswith("network")]
    assert len(level.trainable_variables) == len(level.stacked) - 2 + 3
    for k in range(3):
        output = level.steps[k].coupling.network(tf.ones([1, 1, 1, 2], tf.float64))
        np.testing.assert_array_equal(output, (k + 1) * np.ones([1, 1, 1, 4]))


def test_an_empty_batch_is_filled_once_for_all_steps():
    level = small(num_steps=3, network_fn=lambda *_: Times(1.0))
    images = tf.TensorSpec([None, 4, 4, 1], tf.float64)
    assert operations(level.inverse, images).count("Pad") == 1
    assert operations(level.steps[0].coupling.network, images).count("Pad") == 1


@pytest.mark.parametrize("name", ["channels", "num_steps", "hidden_channels"])
@pytest.mark.parametrize("value", [0, 2.5])
def test_rejects_counts_that_are_no_positive_integers(name, value):
    with pytest.raises(ValueError, match=rf"`{name}` must be a .*{name}={value}\."):
        GlowLevel(**{"channels": 1, "num_steps": 1, name: value})


def test_rejects_parameters_of_another_number_of_steps():
    level = GlowLevel(1, num_steps=2, hidden_channels=4)
    with pytest.raises(ValueError, match="must hold 3 steps.*Received: .2"):
        GlowLevel(1, num_steps=3, hidden_channels=4, stacked=level.stacked)


def test_network_fn_may_be_a_class():
    class Network(keras.Model):
        def __init__(self, channels_in, channels_out):
            super().__init__()
            self.layer = keras.layers.Dense(channels_out)

        def call(self, x):
            return self.layer(x)

    level = GlowLevel(1, num_steps=2, network_fn=Network)
    assert level.inverse(tf.ones([2, 4, 4, 1])).shape == [2, 2, 2, 4]


@pytest.mark.parametrize("make", [lambda: keras.layers.Dense(3), lambda: "dense"])
def test_rejects_a_network_in_place_of_what_makes_one(make):
    with pytest.raises(TypeError, match="makes a step's network, and is none"):
        GlowLevel(1, num_steps=1, network_fn=make())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"coupling": "afine"}, r"`coupling` must be one of.*Did you mean 'affine'\?"),
        ({"permutation": "revers"}, r"`permutation` must be.*Did you mean 'reverse'\?"),
        ({"unroll": "auto"}, r"`unroll` must be.*None, True, False.*'auto'"),
    ],
)
def test_rejects_names_that_it_does_not_know(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)
