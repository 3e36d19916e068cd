"""Only what is special to Squeeze."""

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg


def test_known_order():
    x = tf.reshape(tf.range(8.0), [1, 2, 2, 2])  # [pixel of 4, channel of 2]
    z = tfg.Squeeze().inverse(x)
    assert z.numpy().tolist() == [[[[0, 2, 4, 6, 1, 3, 5, 7]]]]


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_order_is_that_of_the_docstring(factor):
    x = np.random.default_rng(0).normal(size=[2, 2 * factor, 3 * factor, 2])
    z = tfg.Squeeze(factor).inverse(x)
    assert z.shape == [2, 2, 3, 2 * factor**2]
    for h, w, c, dy, dx in np.ndindex(2, 3, 2, factor, factor):
        channel = c * factor**2 + dy * factor + dx
        expected = x[:, h * factor + dy, w * factor + dx, c]
        np.testing.assert_array_equal(z[:, h, w, channel], expected)


def test_keeps_the_type():
    x = tf.reshape(tf.range(16), [1, 4, 4, 1])
    assert tfg.Squeeze().inverse(x).dtype == tf.int32


def test_height_and_width_may_be_unknown():
    squeeze = tfg.Squeeze()
    both = tf.function(
        lambda x: (z := squeeze.inverse(x), squeeze.forward(tf.identity(z))),
        input_signature=[tf.TensorSpec([None, None, None, 3])],
    )
    x = tf.random.stateless_normal([2, 4, 6, 3], seed=[0, 0])
    z, again = both(x)
    np.testing.assert_array_equal(z, squeeze.inverse(x))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("shape", [[1, 3, 4, 1], [1, 4, 3, 1]])
def test_rejects_images_that_do_not_divide(shape):
    received = rf"event_shape=\({shape[1]}, {shape[2]}, 1\)"
    with pytest.raises(ValueError, match=rf"`factor`=2 .*divisible by 2.*{received}"):
        tfg.Squeeze().inverse(tf.zeros(shape))
    with pytest.raises(ValueError, match=received):
        tfg.Squeeze().inverse_event_shape(shape[1:])


def test_rejects_latents_that_do_not_divide():
    with pytest.raises(ValueError, match=r"divisible by 4.*event_shape=\(2, 2, 6\)"):
        tfg.Squeeze().forward(tf.zeros([1, 2, 2, 6]))


@pytest.mark.parametrize("factor", [0, 1.5, "2"])
def test_rejects_a_factor_that_is_no_positive_integer(factor):
    with pytest.raises(ValueError, match=r"`factor` must be a positive integer"):
        tfg.Squeeze(factor)
