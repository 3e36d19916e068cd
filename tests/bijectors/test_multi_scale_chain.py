"""Only what is special to MultiScaleChain."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import perturb

import tfp_glow as tfg
from tfp_glow.bijectors import TopPrior

tfb = tfp.bijectors


def squeezed(x):
    """The squeeze by 2, in numpy."""
    batch, height, width, channels = x.shape
    x = x.reshape([batch, height // 2, 2, width // 2, 2, channels])
    x = x.transpose([0, 1, 3, 5, 2, 4])
    return x.reshape([batch, height // 2, width // 2, 4 * channels])


def squeezes(num_levels, **arguments):
    levels = [tfg.Squeeze() for _ in range(num_levels)]
    return tfg.MultiScaleChain(levels, [8, 8, 1], dtype=tf.float64, **arguments)


def random_images():
    return np.random.default_rng(0).normal(size=[2, 8, 8, 1])


def test_latent_holds_the_finest_level_first_and_the_top_last():
    chain = squeezes(3, split_priors=[tfb.Identity(), tfb.Identity()])
    x = random_images()
    level_1 = squeezed(x)
    level_2 = squeezed(level_1[..., :2])  # the first half goes on
    top = squeezed(level_2[..., :4])
    parts = [level_1[..., 2:], level_2[..., 4:], top]
    expected = np.concatenate([part.reshape([2, -1]) for part in parts], axis=-1)
    np.testing.assert_array_equal(chain.inverse(x), expected)
    assert chain.level_shapes == ((4, 4, 4), (2, 2, 8), (1, 1, 16))


def test_split_prior_standardises_the_second_half_given_the_first():
    chain = squeezes(2)
    perturb(chain)
    x = random_images()
    h = squeezed(x)
    x_a, x_b = h[..., :2], h[..., 2:]
    network_output = chain.split_priors[0].network(x_a)
    mean, log_scale = -network_output[..., :2], -network_output[..., 2:]
    standardised = (x_b - mean) / np.exp(log_scale)
    assert np.std(mean) > 0.01
    z = chain.inverse(x)
    np.testing.assert_allclose(z[:, :32], np.reshape(standardised, [2, -1]))
    np.testing.assert_allclose(z[:, 32:], squeezed(x_a).reshape([2, -1]))
    log_det = chain.inverse_log_det_jacobian(x, event_ndims=3)
    np.testing.assert_allclose(log_det, -np.sum(log_scale, axis=(1, 2, 3)))


def test_split_priors_start_as_the_identity():
    x = random_images()
    identities = squeezes(3, split_priors=[tfb.Identity(), tfb.Identity()])
    np.testing.assert_array_equal(squeezes(3).inverse(x), identities.inverse(x))


def test_top_prior_acts_on_the_last_level_alone():
    x = random_images()
    without = squeezes(2).inverse(x)
    z = squeezes(2, top_prior=tfb.Shift(np.float64(1))).inverse(x)
    np.testing.assert_array_equal(z[:, :32], without[:, :32])
    np.testing.assert_array_equal(z[:, 32:], without[:, 32:] - 1)


def test_one_level_is_the_level_flattened():
    x = random_images()
    expected = squeezed(x).reshape([2, -1])
    np.testing.assert_array_equal(squeezes(1).inverse(x), expected)


def test_labels_go_to_the_top_prior_under_its_name():
    prior = TopPrior(4, num_classes=2, dtype=tf.float64, name="digit")
    chain = squeezes(1, top_prior=prior)
    perturb(chain)
    x = tf.constant(random_images())
    z = [chain.inverse(x, digit={"labels": [label] * 2}) for label in (0, 1)]
    assert np.all(z[0] != z[1])
    with pytest.raises(ValueError, match=r'=\{"digit": {...}}`. Received: labels'):
        chain.inverse(x, labels=[0, 1])
    with pytest.raises(ValueError, match="needs labels"):
        chain.inverse(x)


def test_labels_reach_a_level():
    """Whatever part takes keyword arguments gets them under its name."""
    prior = TopPrior(4, num_classes=2, dtype=tf.float64, name="first")
    level = tfb.Chain([tfg.Squeeze(), prior], name="level")
    chain = tfg.MultiScaleChain([level], [4, 4, 1], dtype=tf.float64)
    perturb(chain)
    x = tf.zeros([1, 4, 4, 1], tf.float64)
    z = [chain.inverse(x, level={"first": {"labels": [label]}}) for label in (0, 1)]
    assert np.all(z[0] != z[1])


@pytest.mark.parametrize(
    ("levels", "event_shape", "arguments", "message"),
    [
        ([], [8, 8, 1], {}, r"at least one level.*Received: 0 levels"),
        ([tfg.Squeeze()], [None, 8, 1], {}, r"in numbers.*event_shape=\(None, 8, 1\)"),
        ([tfg.Squeeze()], [8, 8], {}, r"`event_shape`=\[H, W, C\].*\(8, 8\)"),
        (
            [tfb.Identity(), tfg.Squeeze()],
            [8, 8, 3],
            {},
            r"must be even\. Received: level 0 puts out \(8, 8, 3\)\. .*`Squeeze`",
        ),
        ([tfg.Squeeze(), tfg.Squeeze()], [6, 6, 1], {}, r"divisible by 2.*\(3, 3, 2\)"),
        (
            [tfg.Squeeze(), tfg.Squeeze()],
            [8, 8, 1],
            {"split_priors": []},
            r"each level but the last: 1\. Received: 0",
        ),
    ],
)
def test_rejects(levels, event_shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        tfg.MultiScaleChain(levels, event_shape, **arguments)


def test_rejects_inputs_of_another_shape():
    chain = squeezes(2)
    with pytest.raises(ValueError, match=r"multi_scale_chain.*shape=\(2, 4, 4, 1\)"):
        chain.inverse(tf.zeros([2, 4, 4, 1], tf.float64))
    with pytest.raises(ValueError, match=r"multi_scale_chain.*64\].*shape=\(2, 63\)"):
        chain.forward(tf.zeros([2, 63], tf.float64))


@pytest.mark.parametrize(
    ("direction", "shape", "message"),
    [
        ("inverse", [9, 9, 3], r"8, 8, 1\]\. Received: shape=\(9, 9, 3\)"),
        ("inverse", [8, 8], r"8, 8, 1\]\. Received: shape=\(8, 8\)"),
        ("forward", [5, 99], r"64\]\. Received: shape=\(5, 99\)"),
        ("forward", [], r"64\]\. Received: shape=\(\)"),
    ],
)
def test_rejects_shapes_that_are_no_events_of_its_own(direction, shape, message):
    chain = squeezes(2)
    with pytest.raises(ValueError, match=message):
        getattr(chain, f"{direction}_event_shape")(shape)
    with pytest.raises(ValueError, match=message):
        getattr(chain, f"{direction}_event_shape_tensor")(tf.constant(shape, tf.int32))


def test_sizes_of_events_may_be_unknown():
    chain = squeezes(2)
    assert chain.inverse_event_shape([None, None, 8, 1]).as_list() == [None, 64]
    assert chain.forward_event_shape([5, None]).as_list() == [5, 8, 8, 1]
    assert chain.inverse_event_shape(None).rank is None
    vector = tf.TensorSpec([3], tf.int32)
    traced = tf.function(chain.inverse_event_shape_tensor, input_signature=[vector])
    assert traced([8, 8, 1]).numpy().tolist() == [64]
