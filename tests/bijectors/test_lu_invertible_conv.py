"""Only what is special to LUInvertibleConv."""

import numpy as np
import pytest
import tensorflow as tf
from cases import perturb

import tfp_glow as tfg

PARTS = ("lower", "upper", "log_diag", "sign", "permutation")


def random_matrix(*shape):
    return np.random.default_rng(3).normal(size=shape)


def perturbed(channels=5):
    bijector = tfg.LUInvertibleConv(channels, seed=0, dtype=tf.float64)
    perturb(bijector)
    return bijector


def parts_of(bijector):
    return {key: tf.convert_to_tensor(getattr(bijector, key)) for key in PARTS}


def test_matrix_is_that_of_the_paper():
    bijector = perturbed()
    p = {key: value.numpy() for key, value in parts_of(bijector).items()}
    lower = np.tril(p["lower"], -1) + np.eye(5)
    upper = np.triu(p["upper"], 1) + np.diag(p["sign"] * np.exp(p["log_diag"]))
    expected = p["permutation"] @ lower @ upper
    np.testing.assert_allclose(bijector.matrix(), expected, rtol=1e-12)
    x = random_matrix(2, 3, 4, 5)
    np.testing.assert_allclose(bijector.inverse(x), x @ expected, rtol=1e-12)
    np.testing.assert_allclose(bijector.forward(x), x @ np.linalg.inv(expected))


def test_permutation_is_one_and_stays():
    bijector = perturbed()
    permutation = bijector.permutation.numpy()
    np.testing.assert_array_equal(permutation.sum(0), np.ones(5))
    np.testing.assert_array_equal(permutation.sum(1), np.ones(5))
    assert set(np.unique(permutation)) == {0, 1}
    assert set(np.unique(bijector.sign)) <= {-1, 1}
    assert {v.name.split("/")[-1] for v in bijector.trainable_variables} == {
        "lower:0",
        "upper:0",
        "log_diag:0",
    }


def test_decompose_reproduces_any_matrix():
    matrix = random_matrix(6, 6)
    parts = tfg.LUInvertibleConv.decompose(matrix, dtype=tf.float64)
    bijector = tfg.LUInvertibleConv(6, **parts)
    np.testing.assert_allclose(bijector.matrix(), matrix, rtol=1e-12)


def test_log_det_is_the_sum_of_log_diag_and_counts_the_pixels():
    bijector = perturbed()
    images = random_matrix(2, 3, 4, 5)
    log_det = bijector.inverse_log_det_jacobian(images, event_ndims=3)
    _, expected = np.linalg.slogdet(bijector.matrix())
    np.testing.assert_allclose(tf.reduce_sum(bijector.log_diag), expected)
    np.testing.assert_allclose(log_det, 3 * 4 * expected)


def test_inverse_matrix():
    bijector = perturbed()
    np.testing.assert_allclose(
        bijector.matrix() @ bijector.inverse_matrix(), np.eye(5), atol=1e-12
    )


def test_starts_as_a_rotation_of_its_seed():
    matrix = tfg.LUInvertibleConv(8, seed=1, dtype=tf.float64).matrix().numpy()
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(8), atol=1e-12)
    assert np.abs(matrix - np.eye(8)).max() > 0.1
    again = tfg.LUInvertibleConv(8, seed=1, dtype=tf.float64).matrix()
    np.testing.assert_array_equal(again, matrix)
    for seed in (2, None):
        other = tfg.LUInvertibleConv(8, seed=seed, dtype=tf.float64).matrix()
        assert np.abs(other - matrix).max() > 0.1


def test_only_the_right_triangle_counts():
    parts = parts_of(perturbed())
    garbage = 1e3 * random_matrix(5, 5)
    dirty = parts | {
        "lower": parts["lower"] + np.triu(garbage),
        "upper": parts["upper"] + np.tril(garbage),
    }
    clean, dirty = (tfg.LUInvertibleConv(5, **p) for p in (parts, dirty))
    np.testing.assert_array_equal(dirty.matrix(), clean.matrix())
    np.testing.assert_array_equal(dirty.inverse_matrix(), clean.inverse_matrix())


def test_parameters_may_have_a_batch():
    matrices = random_matrix(3, 4, 4)
    alone = [
        tfg.LUInvertibleConv(4, **tfg.LUInvertibleConv.decompose(m, dtype=tf.float64))
        for m in matrices
    ]
    parts = {
        key: tf.stack([getattr(b, key) for b in alone])[:, None, None] for key in PARTS
    }
    bijector = tfg.LUInvertibleConv(4, **parts)
    assert bijector.experimental_batch_shape(x_event_ndims=3) == [3]
    x = random_matrix(3, 2, 5, 4)
    z = bijector.inverse(x)
    np.testing.assert_allclose(bijector.forward(tf.identity(z)), x)
    log_det = bijector.inverse_log_det_jacobian(x, event_ndims=3)
    for k in range(3):
        np.testing.assert_allclose(z[k], x[k] @ matrices[k])
        expected = alone[k].inverse_log_det_jacobian(x[k], event_ndims=3)
        np.testing.assert_allclose(log_det[k], expected)


@pytest.mark.parametrize("missing", PARTS)
def test_rejects_parts_of_a_matrix(missing):
    parts = parts_of(perturbed())
    del parts[missing]
    with pytest.raises(ValueError, match=rf"all five or none.*: no {missing}\."):
        tfg.LUInvertibleConv(5, **parts)


def test_rejects_a_matrix_of_other_channels():
    with pytest.raises(ValueError, match=r"`lower` must have .*4, 4\].*\(5, 5\)"):
        tfg.LUInvertibleConv(4, **parts_of(perturbed()))


@pytest.mark.parametrize("channels", [0, 2.0, None])
def test_rejects_channels_that_are_no_positive_integer(channels):
    with pytest.raises(ValueError, match=r"positive integer.*Received: channels="):
        tfg.LUInvertibleConv(channels)
