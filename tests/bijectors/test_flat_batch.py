import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.bijectors.flat_batch import apply_to_flat_batch


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (1, 2, 3)])
def test_function_sees_rank_4_and_the_result_has_the_leading_shape(leading):
    x = tf.random.stateless_normal([*leading, 4, 3, 2], seed=[0, 0])
    seen = []

    def function(flat):
        seen.append(flat.shape.rank)
        return tf.concat([flat[:, ::2], flat[:, 1::2]], axis=-1)  # [B, 2, 3, 4]

    y = apply_to_flat_batch(function, x)
    expected = tf.concat([x[..., ::2, :, :], x[..., 1::2, :, :]], axis=-1)
    np.testing.assert_array_equal(y, expected)
    assert seen == [4]


def test_known_dimensions_stay_known():
    chain = tfg.MultiScaleChain([tfg.Squeeze(), tfg.Squeeze()], [4, 4, 2])
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4, 4, 2])])
    def both(x):
        z = chain.inverse(x)
        y = chain.forward(tf.identity(z))
        squeezed = tfg.Squeeze().inverse(x)
        shapes.extend(value.shape.as_list() for value in (z, y, squeezed))
        return y

    x = tf.random.stateless_normal([2, 3, 4, 4, 2], seed=[0, 0])
    np.testing.assert_array_equal(both(x), x)
    assert shapes == [[None, 3, 32], [None, 3, 4, 4, 2], [None, 3, 2, 2, 8]]
