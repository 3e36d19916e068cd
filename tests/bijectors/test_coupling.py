"""What the couplings share."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import perturb

import tfp_glow as tfg

# Network outputs for each channel that changes.
OUTPUTS = {
    tfg.GlowAffineCoupling: 2,
    tfg.GlowAdditiveCoupling: 1,
    tfg.LogisticMixtureCoupling: 2 + 3 * 4,
}
each_coupling = pytest.mark.parametrize("cls", OUTPUTS)


def random_images(*shape):
    return tf.random.stateless_normal(shape, seed=[0, 0], dtype=tf.float64)


@each_coupling
def test_first_half_stays_and_second_changes(cls):
    bijector = cls(6, hidden_channels=4, dtype=tf.float64, seed=0)
    perturb(bijector)
    x = random_images(2, 4, 3, 6)
    for y in (bijector.inverse(x), bijector.forward(x)):
        np.testing.assert_array_equal(y[..., :3], x[..., :3])
        assert np.all(y[..., 3:] != x[..., 3:])


@each_coupling
def test_second_half_does_not_reach_the_network(cls):
    received = []

    def network(x):
        received.append(x)
        return tf.concat([x] * OUTPUTS[cls], axis=-1)

    bijector = cls(4, network=network, dtype=tf.float64)
    x = random_images(2, 4, 3, 4)
    received.clear()
    bijector.inverse(x)
    np.testing.assert_array_equal(received, [x[..., :2]])


@each_coupling
def test_network_gets_images_of_rank_4_in_the_coupling_s_type(cls):
    shapes = []

    def network(x):
        shapes.append((x.shape.as_list(), x.dtype))
        return tf.concat([x] * OUTPUTS[cls], axis=-1)

    bijector = cls(2, network=network, dtype=tf.float64)
    shapes.clear()
    assert bijector.inverse(random_images(5, 2, 4, 3, 2)).shape == [5, 2, 4, 3, 2]
    assert bijector.inverse(random_images(4, 3, 2)).shape == [4, 3, 2]
    assert shapes == [([10, 4, 3, 1], tf.float64), ([1, 4, 3, 1], tf.float64)]


@each_coupling
def test_bfloat16_network_leaves_the_flow_in_float32(cls):
    def network(x):
        y = tf.cast(x, tf.bfloat16)
        return tf.concat([y] * OUTPUTS[cls], axis=-1)

    bijector = cls(2, network=network)
    x = tf.ones([2, 4, 3, 2])
    assert bijector.inverse(x).dtype == tf.float32
    assert bijector.inverse_log_det_jacobian(x, event_ndims=3).dtype == tf.float32


@each_coupling
def test_seed_decides_the_initial_network(cls):
    kernels = [
        cls(4, hidden_channels=4, seed=seed).network.parameters["kernel_1"].numpy()
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.any(kernels[0] != kernels[2])


@each_coupling
@pytest.mark.parametrize("channels", [1, 5])
def test_rejects_odd_channels(cls, channels):
    with pytest.raises(ValueError, match=rf"even number.*channels={channels}\. Squee"):
        cls(channels)


@each_coupling
@pytest.mark.parametrize("hidden_channels", [0, 1.5])
def test_rejects_hidden_channels_that_are_no_positive_integer(cls, hidden_channels):
    with pytest.raises(ValueError, match=r"`hidden_channels` must be a positive"):
        cls(4, hidden_channels=hidden_channels)


@each_coupling
def test_rejects_input_of_other_channels(cls):
    bijector = cls(4, hidden_channels=4)
    for direction in (bijector.inverse, bijector.forward):
        with pytest.raises(ValueError, match=r"4\]\. Received: shape=\(2, 3, 3, 6\)"):
            direction(tf.zeros([2, 3, 3, 6]))


@each_coupling
def test_rejects_a_network_with_other_channels(cls):
    wanted = 2 * OUTPUTS[cls]
    message = rf"must return {wanted} channels.* \[2, 8, 8, 2\]\. Received: .*8, 3\]"
    with pytest.raises(ValueError, match=message):
        cls(4, network=lambda x: tf.concat([x, x[..., :1]], axis=-1))


@each_coupling
def test_rejects_a_network_that_cannot_be_called(cls):
    with pytest.raises(TypeError, match=r"`network` must be callable.*'dense'"):
        cls(4, network="dense")


@each_coupling
@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_an_empty_batch_of_a_network_that_convolves(cls, direction):
    """With oneDNN TensorFlow's convolution of no images has the channels they had."""
    convolution = partial(keras.layers.Conv2D, kernel_size=3, padding="same")
    network = keras.Sequential([convolution(8), convolution(2 * OUTPUTS[cls])])
    function = getattr(cls(4, network=network), direction)
    sizes = tf.TensorSpec([None, 3, 2, 4])
    for call in (function, tf.function(function, input_signature=[sizes])):
        assert call(tf.zeros([0, 3, 2, 4])).shape == [0, 3, 2, 4]


def test_keras_networks_for_one_size_of_image():
    inputs = keras.Input([4, 6, 1])
    outputs = keras.layers.Dense(4 * 6 * 2)(keras.layers.Flatten()(inputs))
    network = keras.Model(inputs, keras.layers.Reshape([4, 6, 2])(outputs))
    bijector = tfg.GlowAffineCoupling(2, network=network)
    x = tf.random.stateless_normal([3, 4, 6, 2], seed=[0, 0])
    y = bijector.forward(tf.identity(bijector.inverse(x)))
    np.testing.assert_allclose(y, x, atol=1e-6)
    assert len(bijector.trainable_variables) == 2


def keras_network(channels_out):
    return keras.layers.Conv2D(channels_out, 3, padding="same")


@pytest.mark.parametrize(
    ("other", "arguments"),
    [
        (lambda: tfg.GlowAdditiveCoupling(4, hidden_channels=4), {}),
        (lambda: tfg.GlowAdditiveCoupling(4, network=keras_network(2)), {}),
        (lambda: tfg.GlowAffineCoupling(8, hidden_channels=4), {}),
        (lambda: tfg.GlowAffineCoupling(4, hidden_channels=4), {"context_shape": [3]}),
        (
            lambda: tfg.GlowAffineCoupling(4, network=keras_network(4)),
            {"context_shape": [3]},
        ),
        (
            lambda: tfg.GlowAffineCoupling(
                4, hidden_channels=4, context_shape=[2, 2, 3]
            ),
            {"context_shape": [2, 2, 1]},
        ),
    ],
)
def test_the_network_of_another_coupling_must_fit(other, arguments):
    with pytest.raises(ValueError, match=r"must return 4 channels.*made for \("):
        tfg.GlowAffineCoupling(4, network=other().network, **arguments)


@pytest.mark.parametrize("context_shape", [None, [3], [2, 2, 3]])
def test_the_network_of_an_equal_coupling_is_shared(context_shape):
    make = partial(tfg.GlowAffineCoupling, 4, context_shape=context_shape)
    one = make(hidden_channels=4, dtype=tf.float64)
    perturb(one)
    other = make(network=one.network, dtype=tf.float64)
    x = random_images(2, 2, 2, 4)
    context = {} if context_shape is None else {"context": random_images(2, 2, 2, 3)}
    if context_shape == [3]:
        context = {"context": random_images(2, 3)}
    z = one.inverse(x, **context)
    np.testing.assert_array_equal(other.inverse(x, **context), z)
    assert np.all(z[..., 2:] != x[..., 2:])
