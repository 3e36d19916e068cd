"""Only what is special to MergedGlowLevel: the same map, with nothing to prepare."""

import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, make_perturbed, operations, perturb

from tfp_glow.bijectors import Glow, GlowLevel

LEVELS = [name for name in CASES if name.startswith("level")]
MATRIX_OPERATIONS = {"MatrixTriangularSolve", "MatrixSetDiagV3", "MatrixBandPart"}


@pytest.mark.parametrize("name", LEVELS)
def test_is_the_same_map(name):
    case = CASES[name]
    level = make_perturbed(case)
    merged = level.merged()
    x, kwargs = case.x(3), case.kwargs(3)
    z = level.inverse(x, **kwargs)
    np.testing.assert_allclose(merged.inverse(x, **kwargs), z, atol=1e-12)
    np.testing.assert_allclose(
        merged.forward(tf.identity(z), **kwargs), x, atol=1e-9, rtol=1e-9
    )
    np.testing.assert_allclose(
        merged.inverse_log_det_jacobian(tf.identity(x), 3, **kwargs),
        level.inverse_log_det_jacobian(x, 3, **kwargs),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        merged.forward_log_det_jacobian(tf.identity(z), 3, **kwargs),
        -level.inverse_log_det_jacobian(x, 3, **kwargs),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"coupling": "logistic_mixture"},
        {"scale": "bounded", "num_steps": 5},
        {"context_shape": [4, 4, 1], "num_classes": 3, "num_levels": 2},
        {"network_dtype": tf.bfloat16, "num_steps": 5},
    ],
    ids=["mixture", "looped", "context", "bfloat16"],
)
def test_a_glow_of_merged_levels_is_the_same_map(arguments):
    defaults = {"num_levels": 1, "num_steps": 2, "hidden_channels": 8, "seed": 0}
    glow = Glow([4, 4, 1], **defaults | arguments)
    perturb(glow)
    x = tf.random.stateless_normal([3, 4, 4, 1], [0, 0])
    condition = {}
    if glow.context_shape:
        condition = {"context": 0.5 * x, "labels": tf.range(3)}
    merged = glow.merged()
    both = [tf.function(g.inverse)(x, **condition) for g in (glow, merged)]
    tolerance = 2e-2 if "network_dtype" in arguments else 1e-5
    np.testing.assert_allclose(*both, atol=tolerance)
    assert np.abs(both[0] - x[..., 0].numpy().reshape([3, 16])).max() > 0.1
    both = [tf.function(g.forward)(both[0], **condition) for g in (glow, merged)]
    np.testing.assert_allclose(*both, atol=10 * tolerance)


@pytest.mark.parametrize("unroll", [True, False])
def test_nothing_of_the_parameters_is_computed(unroll):
    level = GlowLevel(3, num_steps=5, hidden_channels=4, unroll=unroll)
    x = tf.zeros([2, 4, 4, 3])
    z = tf.zeros([2, 2, 2, 12])
    assert MATRIX_OPERATIONS & set(operations(level.forward, z))
    for function, argument in [
        (level.merged().inverse, x),
        (level.merged().forward, z),
    ]:
        found = operations(function, argument)
        assert not MATRIX_OPERATIONS & set(found)
        # A list would be a copy of all parameters.
        assert not [op for op in found if op.startswith("TensorList")]


def test_constants_have_the_type_that_networks_compute_in():
    level = GlowLevel(3, num_steps=2, hidden_channels=4, network_dtype=tf.bfloat16)
    merged = level.merged()
    for i in (1, 2, 3):
        assert merged.constants[f"network/kernel_{i}"].dtype == tf.bfloat16
    assert merged.constants["network/biases"].dtype == tf.float32
    assert merged.constants["inverse_matrix"].dtype == tf.float64
    assert not merged.trainable_variables
    # Nor does it hold the variables that it was made of.
    assert not {id(v) for v in merged.variables} & {id(v) for v in level.variables}


def test_later_training_does_not_change_it():
    level = GlowLevel(1, num_steps=2, hidden_channels=4, seed=0)
    x = tf.random.stateless_normal([2, 4, 4, 1], [0, 0])
    merged = level.merged()
    before = merged.inverse(x).numpy()
    perturb(level)
    np.testing.assert_array_equal(merged.inverse(tf.identity(x)), before)
    assert np.abs(level.inverse(tf.identity(x)) - before).max() > 0.01
