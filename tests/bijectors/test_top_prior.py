"""Only what is special to TopPrior."""

import numpy as np
import pytest
import tensorflow as tf
from cases import perturb

from tfp_glow.bijectors import TopPrior


def perturbed(num_classes=None):
    prior = TopPrior(2, num_classes=num_classes, dtype=tf.float64)
    perturb(prior)
    return prior


def random_images(*shape):
    return tf.random.stateless_normal(shape, seed=[0, 0], dtype=tf.float64)


def test_mean_comes_first_and_log_scale_then():
    prior = perturbed()
    x = random_images(5, 3, 4, 2)
    h = prior.prior(tf.zeros([1, 3, 4, 0], tf.float64))
    mean, log_scale = h[..., :2], h[..., 2:]
    np.testing.assert_allclose(prior.inverse(x), (x - mean) / np.exp(log_scale))
    log_det = prior.inverse_log_det_jacobian(x, event_ndims=3)
    np.testing.assert_allclose(log_det, -np.sum(log_scale))


def test_class_is_added_to_the_shared_prior():
    prior = perturbed(num_classes=3)
    x = random_images(3, 2, 2, 2)
    labels = [2, 0, 2]
    p = {key: value.numpy() for key, value in prior.class_prior.parameters.items()}
    h = (p["kernel"][labels] + p["bias"]) * np.exp(3 * p["raw_log_scale"])
    h = h[:, None, None] + prior.prior(tf.zeros([1, 2, 2, 0], tf.float64))
    expected = (x - h[..., :2]) / np.exp(h[..., 2:])
    np.testing.assert_allclose(prior.inverse(x, labels=labels), expected)


def test_starts_as_the_identity():
    prior = TopPrior(2, num_classes=3)
    x = tf.random.stateless_normal([2, 3, 4, 2], seed=[0, 0])
    np.testing.assert_array_equal(prior.inverse(x, labels=[0, 2]), x)


def test_only_the_edge_tells_pixels_apart():
    prior = perturbed()
    z = prior.inverse(tf.zeros([1, 5, 5, 2], tf.float64))[0]
    np.testing.assert_allclose(z[1:4, 1:4], np.broadcast_to(z[2, 2], [3, 3, 2]))
    assert np.all(z[0, 0] != z[2, 2])


def test_shape_may_be_unknown():
    prior = perturbed()
    inverse = tf.function(
        prior.inverse,
        input_signature=[tf.TensorSpec([None, None, None, 2], tf.float64)],
    )
    x = random_images(2, 3, 5, 2)
    np.testing.assert_allclose(inverse(x), prior.inverse(x))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_labels_of_any_integer_type(dtype):
    prior = perturbed(num_classes=3)
    x = random_images(2, 3, 3, 2)
    labels = np.array([1, 2], dtype)
    expected = prior.inverse(x, labels=[1, 2])
    np.testing.assert_array_equal(prior.inverse(x, labels=labels), expected)


@pytest.mark.parametrize(
    ("num_classes", "labels", "message"),
    [
        (None, [0, 0], r"made without `num_classes`\. Received: labels\."),
        (3, None, r"integers in \[0, 3\)\. Received: no labels"),
        (3, [0, 3], r"must be in \[0, 3\)\. Received: labels from 0 to 3"),
        (3, [-1, 2], r"must be in \[0, 3\)\. Received: labels from -1 to 2"),
        (3, [0, 1, 2], r"one label an image.*Received: labels.shape=\(3,\)"),
        (3, [[0], [1]], r"one label an image.*Received: labels.shape=\(2, 1\)"),
    ],
)
def test_rejects_labels(num_classes, labels, message):
    with pytest.raises(ValueError, match=message):
        perturbed(num_classes).inverse(random_images(2, 3, 3, 2), labels=labels)


def test_one_image_may_have_several_labels():
    prior, x = perturbed(3), random_images(1, 3, 3, 2)
    z = prior.inverse(x, labels=[0, 1, 2])
    for label in range(3):
        one = prior.inverse(tf.identity(x), labels=[label])[0]
        np.testing.assert_allclose(z[label], one, atol=1e-6)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_not_known_before_give_no_number(label):
    """XLA, as a GPU, would take another class; TensorFlow on a CPU raises."""
    prior = perturbed(num_classes=3)
    inverse = tf.function(
        lambda x, labels: prior.inverse(x, labels=labels), jit_compile=True
    )
    x = random_images(2, 3, 3, 2)
    z = inverse(x, tf.constant([2, label]))
    assert np.all(np.isfinite(z[0]))
    assert np.all(np.isnan(z[1]))


def test_rejects_labels_that_are_no_integers():
    with pytest.raises(TypeError, match=r"must be integers.*Received: dtype=float32"):
        perturbed(3).inverse(random_images(2, 3, 3, 2), labels=[0.0, 1.0])


@pytest.mark.parametrize("num_classes", [0, -2, 1.5])
def test_rejects_a_number_of_classes_that_is_no_positive_integer(num_classes):
    with pytest.raises(ValueError, match=r"`num_classes` must be a positive integer"):
        TopPrior(2, num_classes=num_classes)
