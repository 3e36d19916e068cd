"""A 1 x 1 convolution with its ReLU has derivatives of its own: they are the usual."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.convolution import conv, relu

SHAPES = [(2, 3, 4, 8), (1, 1, 8, 6), (6,)]  # x, kernel, bias


def as_one(x, kernel, bias):
    return conv(x, kernel, bias, activation=relu)


def apart(x, kernel, bias):
    return tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)


@pytest.fixture
def arguments():
    rng = np.random.default_rng(0)
    return [tf.constant(rng.normal(size=shape)) for shape in SHAPES]


def derivatives(function, arguments):
    """First and second, forwards and backwards, and one row by row."""
    rng = np.random.default_rng(1)
    directions = [tf.constant(rng.normal(size=shape)) for shape in SHAPES]
    with tf.autodiff.ForwardAccumulator(arguments, directions) as forwards:
        y = function(*arguments)
    with tf.GradientTape() as outer:
        outer.watch(arguments)
        with tf.GradientTape() as inner:
            inner.watch(arguments)
            value = tf.reduce_sum(tf.sin(function(*arguments)))
        first = inner.gradient(value, arguments)
        squares = tf.add_n([tf.reduce_sum(part**2) for part in first])
    second = outer.gradient(squares, arguments)
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        some = function(*arguments)[0, 0]
    return [y, forwards.jvp(y), *first, *second, *tape.jacobian(some, arguments)]


UNKNOWN = [
    tf.TensorSpec([None, None, None, 8], tf.float64),
    *(tf.TensorSpec(shape, tf.float64) for shape in SHAPES[1:]),
]


@pytest.mark.parametrize(
    "options",
    [{}, {"jit_compile": True}, {"input_signature": UNKNOWN}],
    ids=["graph", "XLA", "unknown size"],
)
def test_derivatives_are_those_of_a_convolution(arguments, options):
    found = derivatives(tf.function(as_one, **options), arguments)
    expected = derivatives(apart, arguments)
    assert np.any(expected[0] == 0)
    assert np.any(expected[0] > 0)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
