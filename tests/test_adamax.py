"""Adamax in one operation a variable is Keras's, slots and options included."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg

OPTIONS = {
    "plain": {},
    "betas": {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 0.1},
    "decay, clipnorm": {"weight_decay": 0.1, "clipnorm": 0.5},
    "global_clipnorm, ema": {"global_clipnorm": 0.3, "use_ema": True},
    "accumulation": {"gradient_accumulation_steps": 2},
}


def train(optimizer, *, jit_compile):
    """The variables and what the optimizer keeps, after six steps."""
    rng = np.random.default_rng(0)
    shapes = [(3,), (4, 5)]
    values = [tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes]
    variables = [tf.Variable(value) for value in values]
    optimizer.build(variables)

    @tf.function(jit_compile=jit_compile)
    def step(*gradients):
        optimizer.apply(gradients, variables)

    for _ in range(6):
        step(*(tf.constant(rng.normal(size=shape), tf.float32) for shape in shapes))
    return [v.numpy() for v in variables], [v.numpy() for v in optimizer.variables]


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_is_keras_s(options, jit_compile):
    rate = 0.1
    expected = train(keras.optimizers.Adamax(rate, **options), jit_compile=jit_compile)
    actual = train(tfg.Adamax(rate, **options), jit_compile=jit_compile)
    for one, other in zip(expected, actual, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float64])
def test_is_keras_s_in_other_types(dtype):
    found = []
    for make in (keras.optimizers.Adamax, tfg.Adamax):
        weights = tf.Variable(tf.ones([3], dtype))
        optimizer = make(0.1, epsilon=1e-3)
        optimizer.apply([tf.constant([0.5, -0.25, 1.0], dtype)], [weights])
        found.append(tf.cast(weights, tf.float64))
    assert not np.any(found[0] == 1)
    np.testing.assert_allclose(found[1], found[0], rtol=4e-3)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float64])
def test_average_is_keras_s_in_other_types(dtype):
    """Of weights that go from 0 to 1, so that it is the rest of the momentum."""
    found = []
    for make in (keras.optimizers.Adamax, tfg.Adamax):
        weights = tf.Variable(tf.zeros([3], dtype))
        optimizer = make(0.0, use_ema=True, ema_momentum=0.99)
        optimizer.apply([tf.ones([3], dtype)], [weights])
        weights.assign(tf.ones([3], dtype))
        optimizer.apply([tf.ones([3], dtype)], [weights])
        (average,) = optimizer._model_variables_moving_average
        found.append(tf.cast(average.value, tf.float64))
    assert np.all(found[0] > 0)
    np.testing.assert_array_equal(*found)


def test_follows_a_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 4)
    expected = train(keras.optimizers.Adamax(schedule), jit_compile=False)
    actual = train(tfg.Adamax(schedule), jit_compile=False)
    np.testing.assert_allclose(expected[0][1], actual[0][1], rtol=1e-5)


def test_takes_sparse_gradients():
    weights = tf.Variable([[1.0], [2.0], [3.0]])
    gradient = tf.IndexedSlices(tf.constant([[0.5]]), tf.constant([1]), [3, 1])
    tfg.Adamax(0.1).apply([gradient], [weights])
    np.testing.assert_allclose(weights.numpy()[:, 0], [1.0, 1.9, 3.0], rtol=1e-5)


def test_graph_has_fewer_operations_and_no_temporaries():
    def operations(optimizer):
        weights = tf.Variable(tf.zeros([7, 11]))
        optimizer.build([weights])
        step = tf.function(lambda g: optimizer.apply([g], [weights]))
        graph = step.get_concrete_function(tf.TensorSpec([7, 11])).graph
        return [
            op.type
            for op in graph.get_operations()
            if any(t.shape == [7, 11] for t in op.outputs)
            and not op.type.startswith("Identity")
        ]

    assert operations(tfg.Adamax()) == ["Placeholder"]
    assert len(operations(keras.optimizers.Adamax())) > 5


def test_each_variable_more_is_few_operations_more():
    def num_operations(num):
        optimizer, weights = tfg.Adamax(), [tf.Variable([1.0]) for _ in range(num)]
        optimizer.build(weights)
        step = tf.function(lambda g: optimizer.apply([g] * num, weights))
        graph = step.get_concrete_function(tf.TensorSpec([1])).graph
        return len(graph.get_operations())

    # Three resources, the gradient of all replicas, and the update.
    assert num_operations(5) - num_operations(4) == 5


def test_comes_back_from_its_configuration():
    optimizer = tfg.Adamax(0.25, beta_1=0.5, use_ema=True)
    config = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is tfg.Adamax
    assert restored.get_config() == optimizer.get_config()


def test_models_use_it_unless_told_otherwise():
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    model.compile()
    assert type(model.optimizer) is tfg.Adamax
