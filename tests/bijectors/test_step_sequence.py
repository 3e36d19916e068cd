"""Steps in a loop or not, stored or rebuilt: the same values, the same gradients."""

from functools import cache
from itertools import pairwise, product

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import CASES, Dense, glow, operations, perturb, sequential

import tfp_glow as tfg
from tfp_glow.bijectors import GlowLevel

DIRECTIONS = ["inverse", "forward"]
COUPLINGS = ["affine", "additive"]
PERMUTATIONS = ["invertible_conv", "shuffle", "reverse"]


def make_level(memory, *, unroll, dtype=tf.float64, **arguments):
    level = GlowLevel(
        1,
        num_steps=3,
        hidden_channels=4,
        memory=memory,
        unroll=unroll,
        dtype=dtype,
        seed=0,
        **arguments,
    )
    perturb(level)
    return level


def value_and_gradients(level, direction, x, *, compiled=True):
    """Of something on which every output of the level has another influence."""
    variables = list(level.trainable_variables)

    def evaluate(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = getattr(level, direction)(x)
            log_det = getattr(level, f"{direction}_log_det_jacobian")(x, 3)
            weights = tf.reshape(tf.range(tf.size(y), dtype=y.dtype) + 1.0, tf.shape(y))
            value = tf.reduce_sum(tf.sin(weights) * y**2)
            value += tf.reduce_sum(log_det * tf.constant([1.0, -2.0, 3.0], y.dtype))
        return value, tape.gradient(value, [x, *variables])

    return (tf.function(evaluate, jit_compile=False) if compiled else evaluate)(x)


def assert_same(expected, actual, tolerance):
    np.testing.assert_allclose(actual[0], expected[0], rtol=tolerance)
    for one, other in zip(expected[1], actual[1], strict=True):
        largest = np.max(np.abs(one))
        assert largest > 0
        assert np.max(np.abs(one - other)) <= tolerance * largest


def image_or_latent(direction):
    x = CASES["level"].x(3)
    return x if direction == "inverse" else tf.reshape(x, [3, 2, 2, 4])


@cache
def of_stored_level(direction, coupling, permutation):
    """Value and gradients that neither rebuilding nor a graph must change."""
    stored = make_level(
        "stored", unroll=True, coupling=coupling, permutation=permutation
    )
    x = image_or_latent(direction)
    return value_and_gradients(stored, direction, x, compiled=False)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("coupling", "permutation"),
    [*product(COUPLINGS, PERMUTATIONS), ("logistic_mixture", "invertible_conv")],
)
def test_reversible_gradients_are_the_stored_ones(direction, coupling, permutation):
    kwargs = {"coupling": coupling, "permutation": permutation}
    reversible = make_level("reversible", unroll=False, **kwargs)
    x = image_or_latent(direction)
    actual = value_and_gradients(reversible, direction, x, compiled=False)
    assert_same(of_stored_level(direction, **kwargs), actual, 1e-9)


# In a graph each coupling and each permutation in both directions: what a step does
# with one does not depend on the other.
@pytest.mark.parametrize(
    ("memory", "direction", "coupling", "permutation"),
    [
        ("stored", "inverse", "affine", "invertible_conv"),
        ("stored", "forward", "affine", "invertible_conv"),
        ("reversible", "inverse", "affine", "invertible_conv"),
        ("reversible", "inverse", "additive", "shuffle"),
        ("reversible", "inverse", "logistic_mixture", "reverse"),
        ("reversible", "forward", "affine", "shuffle"),
        ("reversible", "forward", "additive", "reverse"),
        ("reversible", "forward", "logistic_mixture", "invertible_conv"),
    ],
)
def test_a_loop_is_the_steps_one_after_another(
    memory, direction, coupling, permutation
):
    """Its graph is that of one step: gradients of stacked parameters included."""
    kwargs = {"coupling": coupling, "permutation": permutation}
    x = image_or_latent(direction)
    unrolled, looped = (
        value_and_gradients(make_level(memory, unroll=unroll, **kwargs), direction, x)
        for unroll in (True, False)
    )
    assert_same(unrolled, looped, 1e-12)
    assert_same(of_stored_level(direction, **kwargs), unrolled, 1e-9)


def test_leading_dimensions_and_unknown_sizes():
    level = make_level("reversible", unroll=False)
    x = CASES["level"].x(2, 3)
    specification = tf.TensorSpec([None, None, None, None, 1], tf.float64)

    @tf.function(input_signature=[specification])
    def evaluate(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_det = level.inverse_log_det_jacobian(x, 3)
            value = tf.reduce_sum(level.inverse(x) ** 3)
        return log_det, tape.gradient(value, x)

    log_det, gradient = evaluate(x)
    assert log_det.shape == [2, 3]
    flat_log_det, flat_gradient = evaluate(tf.reshape(x, [1, 6, 4, 4, 1]))
    np.testing.assert_allclose(tf.reshape(log_det, [6]), flat_log_det[0])
    np.testing.assert_allclose(tf.reshape(gradient, [6, 4, 4, 1]), flat_gradient[0])


@pytest.mark.parametrize("output", ["value", "log_det"])
def test_gradient_of_one_output_alone(output):
    gradients = []
    for memory in ("stored", "reversible"):
        level = make_level(memory, unroll=False)
        x = CASES["level"].x(3)
        with tf.GradientTape() as tape:
            tape.watch(x)
            z, log_det = level.inverse(x), level.inverse_log_det_jacobian(x, 3)
            target = tf.reduce_sum(z**2 if output == "value" else log_det)
        gradients.append(tape.gradient(target, x))
    np.testing.assert_allclose(*gradients, rtol=1e-9)


def shared_network(_, channels_out):
    """The same module for every step: its gradients add up."""
    return _SHARED.setdefault(channels_out, Dense(2, channels_out, tf.float64, 0))


_SHARED: dict = {}


def frozen_network(_, channels_out):
    network = sequential(channels_out, tf.float64, 0)
    network.build([None, 2, 2, 2])
    network.layers[0].trainable = False
    return network


@pytest.mark.parametrize(
    "network_fn",
    [lambda _, out: sequential(out, tf.float64, 0), shared_network, frozen_network],
    ids=["keras", "shared", "frozen"],
)
def test_gradients_of_a_user_s_networks(network_fn):
    x = CASES["level"].x(3)
    stored, reversible = (
        make_level(memory, unroll=None, network_fn=network_fn)
        for memory in ("stored", "reversible")
    )
    for level in (stored, reversible):
        for variable, k in zip(level.variables, range(1000), strict=False):
            if variable.dtype == tf.float64 and variable.trainable:
                variable.assign(tf.zeros_like(variable) + 0.01 * (k % 7 + 1))
    expected = value_and_gradients(stored, "inverse", x, compiled=False)
    for compiled in (True, False):
        actual = value_and_gradients(reversible, "inverse", x, compiled=compiled)
        assert_same(expected, actual, 1e-9)


def test_second_derivatives_are_refused_where_nothing_is_stored():
    def second(memory):
        level = make_level(
            memory, unroll=False, coupling="additive", permutation="reverse"
        )
        x = CASES["level"].x(3)

        @tf.function
        def evaluate(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    value = tf.reduce_sum(level.inverse(x) ** 3)
                first = inner.gradient(value, x)
            return outer.gradient(first, x)

        return evaluate(x)

    assert np.all(np.isfinite(second("stored")))
    with pytest.raises(NotImplementedError, match='.*first deriv.*`memory`="stored"'):
        second("reversible")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_derivatives_in_forward_mode_are_refused_where_nothing_is_stored(
    unroll, compiled
):
    x = CASES["level"].x(3)

    def derivative(memory):
        level = make_level(memory, unroll=unroll)

        def evaluate(x):
            with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
                z = level.inverse(x)
            return accumulator.jvp(z)

        return (tf.function(evaluate) if compiled else evaluate)(x)

    if not compiled:
        assert np.all(np.isfinite(derivative("stored")))
    with pytest.raises(NotImplementedError, match='reverse mode.*`memory`="stored"'):
        derivative("reversible")


def test_nested_tapes_of_first_derivatives():
    level = make_level("reversible", unroll=False)
    x = CASES["level"].x(3)
    with tf.GradientTape(persistent=True) as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            value = tf.reduce_sum(level.inverse(x) ** 2)
        other = 2.0 * value
    expected = inner.gradient(value, x)
    np.testing.assert_allclose(outer.gradient(other, x), 2.0 * expected)
    np.testing.assert_allclose(outer.gradient(value, x), expected)


# Rounding matters most where activations are rebuilt.
@pytest.mark.parametrize(
    ("memory", "dtype"), [("stored", tf.float64), ("reversible", tf.float32)]
)
def test_xla_equals_eager(memory, dtype):
    level = make_level(memory, unroll=False, dtype=dtype)
    x = CASES["level"].x(3, dtype=dtype)
    variables = list(level.trainable_variables)

    @tf.function(jit_compile=True)
    def compiled(x):
        with tf.GradientTape() as tape:
            z = level.inverse(x)
            value = tf.reduce_sum(z**2) + tf.reduce_sum(
                level.inverse_log_det_jacobian(x, 3)
            )
        return value, tape.gradient(value, variables)

    with tf.GradientTape() as tape:
        value = tf.reduce_sum(level.inverse(x) ** 2) + tf.reduce_sum(
            level.inverse_log_det_jacobian(x, 3)
        )
    expected = value, tape.gradient(value, variables)
    assert_same(expected, compiled(x), 1e-4 if dtype == tf.float32 else 1e-9)


@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_graph_and_variables_do_not_grow_with_steps(memory):
    """With gradients, Keras's optimiser and its moving average."""

    def count(num_steps):
        bijector = tfg.Glow(
            [4, 4, 1],
            num_levels=1,
            num_steps=num_steps,
            hidden_channels=4,
            memory=memory,
            unroll=False,
        )
        variables = list(bijector.trainable_variables)
        optimizer = keras.optimizers.Adamax(use_ema=True)
        optimizer.build(variables)
        distribution = tfg.glow_distribution(bijector)

        @tf.function
        def step(x):
            with tf.GradientTape() as tape:
                loss = -tf.reduce_mean(distribution.log_prob(x))
            optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        graph = step.get_concrete_function(tf.zeros([2, 4, 4, 1])).graph.as_graph_def()
        nodes = sum(len(f.node_def) for f in graph.library.function) + len(graph.node)
        return nodes, len(optimizer.variables)

    assert count(2) == count(5)


def handed_to_the_backward_pass(memory, num_steps, *, unroll):
    """Types and shapes of what a forward pass keeps for its backward pass."""
    level = GlowLevel(
        1,
        num_steps=num_steps,
        hidden_channels=16,
        memory=memory,
        unroll=unroll,
        seed=0,
    )
    x = tf.zeros([8, 16, 16, 1])
    function = tf.function(
        lambda x: (level.inverse(x), level.inverse_log_det_jacobian(x, 3))
    ).get_concrete_function(x)
    forward, _ = function._delayed_rewrite_functions.forward_backward()
    return forward.function_type.flat_outputs


def stored_activations(memory, num_steps):
    """Bytes of the activations among it, where steps are unrolled."""
    return sum(
        output.shape.num_elements() * output.dtype.size
        for output in handed_to_the_backward_pass(memory, num_steps, unroll=True)
        if output.shape.rank == 4 and output.shape[0] == 8  # and not a parameter
    )


def test_reversible_keeps_no_activations_of_its_steps():
    few, many = (stored_activations("reversible", k) for k in (1, 2))
    assert few == many
    assert stored_activations("stored", 2) > 1.75 * stored_activations("stored", 1)


def test_reversible_keeps_no_lists_of_activations_of_a_loop():
    """A loop stores in lists, whose type is variant."""

    def num_lists(memory):
        kept = handed_to_the_backward_pass(memory, 6, unroll=False)
        return sum(output.dtype == tf.variant for output in kept)

    assert num_lists("reversible") == 0
    assert num_lists("stored") > 5


def test_a_step_s_network_is_evaluated_once_more_in_the_backward_pass():
    calls = []

    class Counted(Dense):
        def __call__(self, x):
            calls.append(x)
            return super().__call__(x)

    x = CASES["level"].x(3)
    level = make_level(
        "reversible",
        unroll=None,
        network_fn=lambda channels, out: Counted(channels, out, tf.float64, 0),
    )
    calls.clear()
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(level.inverse(x))
    assert len(calls) == 3
    tape.gradient(value, x)
    assert len(calls) == 6


def ancestors(tensor, *, with_control):
    """All operations that are done before a tensor exists."""
    found, left = set(), [tensor.op]
    while left:
        op = left.pop()
        if op not in found:
            found.add(op)
            left += [x.op for x in op.inputs]
            left += op.control_inputs if with_control else []
    return found


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_unrolled_steps_are_rebuilt_when_nothing_needs_the_one_before(
    direction, jit_compile
):
    """Else an executor may keep the activations of all: XLA, too, but for its data."""
    calls = []

    class Watched(Dense):
        def __call__(self, x):
            y = super().__call__(x)
            calls.append((x, y))
            return y

    x = image_or_latent(direction)
    level = make_level(
        "reversible",
        unroll=None,
        network_fn=lambda channels, out: Watched(channels, out, tf.float64, 0),
    )

    def gradients(x):
        calls.clear()
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(getattr(level, direction)(x) ** 2)
        return tape.gradient(value, [x, *level.trainable_variables])

    function = tf.function(gradients, jit_compile=jit_compile)
    function.get_concrete_function(x)
    assert len(calls) == 6
    for (_, activation), (rebuilt, _) in pairwise(calls):
        done = ancestors(rebuilt, with_control=not jit_compile)
        assert activation.consumers()
        assert done.issuperset(activation.consumers())


@pytest.mark.parametrize("jit_compile", [False, True])
def test_rebuilding_keeps_an_image_that_is_not_a_number_from_the_others(jit_compile):
    x = np.array(CASES["level"].x(3))
    x[0, 0, 0, 0] = np.nan
    level = make_level("reversible", unroll=True)

    @tf.function(jit_compile=jit_compile)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(level.inverse(x) ** 2)
        return tape.gradient(value, x)

    of_images = np.isnan(gradient(tf.constant(x))).any(axis=(1, 2, 3))
    assert list(of_images) == [True, False, False]


def noisy(kind):
    """Networks that are no function of their input."""
    if kind == "dropout":

        class Dropout(tf.Module):
            def __init__(self):
                super().__init__()
                self.layer = keras.layers.Dropout(0.5)

            def __call__(self, x):
                # Zero at the start, as a flow's network should be: two calls agree.
                return 0.0 * self.layer(tf.concat([x, x], -1), training=True)

        return Dropout()
    if kind == "random":
        return lambda x: tf.concat([x, x], -1) + tf.random.normal([])

    class Counter(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = tf.Variable(0.0, trainable=False, dtype=tf.float64)

        def __call__(self, x):
            return tf.concat([x, x], -1) * self.count.assign_add(1.0)

    return Counter()


@pytest.mark.parametrize("kind", ["dropout", "random", "counter"])
def test_networks_that_are_no_functions_are_found(kind):
    def network_fn(_, channels_out):
        return noisy(kind)

    dtype = tf.float32 if kind == "random" else tf.float64
    make = {"network_fn": network_fn, "dtype": dtype}
    with pytest.raises(ValueError, match='.*must be a function of its input.*"stored"'):
        make_level("reversible", unroll=None, **make)
    assert make_level("stored", unroll=None, **make).memory == "stored"


def test_a_network_with_dropout_that_keras_does_not_apply_is_a_function():
    network = keras.Sequential(
        [
            keras.layers.Conv2D(4, 3, padding="same", dtype="float64"),
            keras.layers.Dropout(0.5, dtype="float64"),
        ]
    )
    level = make_level("reversible", unroll=None, network_fn=lambda *_: network)
    assert level.memory == "reversible"


@pytest.mark.parametrize("memory", ["stored", "reversible"])
def test_bfloat16_networks_leave_the_rest_in_float32(memory):
    arguments = {"memory": memory, "num_levels": 1, "num_steps": 6}
    precise = glow(tf.float32, 0, **arguments)
    mixed = glow(tf.float32, 0, network_dtype=tf.bfloat16, **arguments)
    for bijector in (precise, mixed):
        perturb(bijector)
        assert {v.dtype for v in bijector.trainable_variables} == {tf.float32}
    x = CASES["glow"].x(8, dtype=tf.float32)

    @tf.function
    def evaluate(bijector, x):
        z = bijector.inverse(x)
        return z, bijector.inverse_log_det_jacobian(x, 3)

    expected, (z, log_det) = evaluate(precise, x), evaluate(mixed, x)
    assert z.dtype == log_det.dtype == tf.float32
    error = np.abs(z - expected[0]).max()
    assert 1e-5 < error < 0.1  # another precision, and no more than that
    np.testing.assert_allclose(log_det, expected[1], atol=0.2)
    # What is rounded is the network's work alone: the way back has the same networks.
    np.testing.assert_allclose(mixed.forward(tf.identity(z)), x, atol=0.05)


@pytest.mark.parametrize("layer", ["BatchNormalization", "Dropout"])
def test_a_model_around_it_that_trains_does_not_change_its_networks(layer):
    """Keras tells layers that they train, but not in the backward pass."""

    class Around(keras.Model):
        def __init__(self, memory):
            super().__init__()
            self.flow = glow(
                tf.float32,
                0,
                memory=memory,
                num_levels=1,
                num_steps=1,
                network_fn=lambda _, out: keras.Sequential(
                    [
                        keras.layers.Conv2D(8, 3, padding="same"),
                        getattr(keras.layers, layer)(*[0.5] * (layer == "Dropout")),
                        keras.layers.Conv2D(out, 1),
                    ]
                ),
            )

        def call(self, x, training=None):
            return self.flow.inverse(x)

    x = CASES["glow"].x(8, dtype=tf.float32)
    results = []
    for memory in ("stored", "reversible"):
        keras.utils.set_random_seed(0)
        model = Around(memory)
        perturb(model.flow)
        variables = list(model.flow.trainable_variables)

        @tf.function
        def evaluate(x, model=model, variables=variables):
            with tf.GradientTape() as tape:
                value = tf.reduce_sum(model(x, training=True) ** 2)
            return value, tape.gradient(value, variables)

        value, gradients = evaluate(x)
        results.append((value, [g for g in gradients if g is not None]))
    assert_same(*results, 1e-5)


@pytest.mark.parametrize("unroll", [True, False])
def test_reversible_gradients_of_bfloat16_networks_are_the_stored_ones(unroll):
    """The networks see what they saw, to the last bit, and so round as they did."""
    x = tf.cast(CASES["level"].x(3), tf.float32)
    kwargs = {"dtype": tf.float32, "network_dtype": tf.bfloat16, "unroll": unroll}
    stored, reversible = (
        value_and_gradients(make_level(memory, **kwargs), "inverse", x)
        for memory in ("stored", "reversible")
    )
    assert_same(stored, reversible, 1e-4)
    precise = value_and_gradients(
        make_level("stored", unroll=True, dtype=tf.float32),
        "inverse",
        x,
        compiled=False,
    )
    with pytest.raises(AssertionError):  # they do round
        assert_same(precise, stored, 1e-4)


@pytest.mark.parametrize("num_steps", [2, 5])  # one after another, and as a loop
@pytest.mark.parametrize(
    ("coupling", "width"), [("affine", 4), ("affine", 264), ("logistic_mixture", 3)]
)
def test_samples_round_networks_as_training_does(coupling, width, num_steps):
    """Scales are in the kernels of training already, a sample's steps put them there.

    With so many outputs beside its width the last layer of a mixture's network is a
    convolution that sees the edge as a channel.
    """
    level = GlowLevel(
        1,
        num_steps=num_steps,
        hidden_channels=width,
        coupling=coupling,
        network_dtype=tf.bfloat16,
        memory="stored",
        seed=0,
    )
    perturb(level)
    x = tf.cast(CASES["level"].x(3), tf.float32)
    z = tf.function(level.inverse)(x)
    found = tf.function(level.forward)(tf.identity(z))
    np.testing.assert_allclose(found, x, atol=1e-5)


@pytest.mark.parametrize(("num_steps", "is_looped"), [(4, False), (5, True)])
def test_more_than_four_steps_are_a_loop(num_steps, is_looped):
    level = GlowLevel(1, num_steps=num_steps, hidden_channels=4)
    found = operations(level.inverse, tf.zeros([1, 4, 4, 1]))
    assert any("While" in op for op in found) == is_looped


@pytest.mark.parametrize(("memory", "expected"), [("stored", 2), ("reversible", 1)])
def test_two_steps_overlap_where_activations_are_kept_anyway(memory, expected):
    level = GlowLevel(1, num_steps=5, hidden_channels=4, memory=memory)

    def gradient(x):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(level.inverse(x))
        return tape.gradient(value, level.trainable_variables)

    graph = tf.function(gradient).get_concrete_function(tf.zeros([1, 4, 4, 1])).graph
    loops = [n for n in graph.as_graph_def().node if "While" in n.op]
    assert len(loops) == 2  # forward and back
    assert {loop.attr["parallel_iterations"].i for loop in loops} == {expected}


@pytest.mark.parametrize("width", [4, 264])
def test_a_loop_that_trains_keeps_nothing_of_how_it_reads_parameters(width):
    level = GlowLevel(1, num_steps=5, hidden_channels=width, memory="stored")

    def gradient(x):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(level.inverse(x))
        return tape.gradient(value, level.trainable_variables)

    found = set(operations(gradient, tf.zeros([1, 4, 4, 1])))
    assert any("While" in op for op in found)
    of_arrays = {"Length", "ElementShape", "Reserve", "GetItem", "SetItem"}
    assert not {f"TensorList{name}" for name in of_arrays} & found


def test_matrices_are_made_once_for_all_steps_and_by_triangular_solves():
    level = GlowLevel(1, num_steps=5, hidden_channels=4, memory="reversible")
    x, z = tf.zeros([1, 4, 4, 1]), tf.zeros([1, 2, 2, 4])

    def gradient(x):
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(level.inverse(x))
            value += tf.reduce_sum(level.inverse_log_det_jacobian(x, 3))
        return tape.gradient(value, level.trainable_variables)

    for function, argument, num_solves in [
        (level.inverse, x, 0),
        (level.forward, z, 2),
        (gradient, x, 2),  # what rebuilds inputs needs the inverse
    ]:
        found = operations(function, argument)
        assert not {"MatrixInverse", "Lu", "MatrixDeterminant"} & set(found)
        assert found.count("MatrixTriangularSolve") == num_solves
