"""What every bijector owes, for every bijector in the registry."""

import inspect
from copy import deepcopy
from functools import partial
from math import prod

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, Case, built

from tfp_glow import bijectors

tfb = tfp.bijectors
tfd = tfp.distributions

BATCH = 6

# One case a class, one of those with the fewest variables.
SIMPLEST = [
    "act_norm",
    "additive_coupling-module",
    "affine_coupling-keras",
    "glow-non_square_no_prior",
    "level-reverse",
    "logistic_mixture_coupling",
    "lu_invertible_conv",
    "multi_scale",
    "squeeze",
    "step-permute",
    "top_prior",
]

# What is slow is not asked of what is made of others' parts.
THOROUGH = [
    name
    for name in CASES
    if name
    not in (
        "glow",
        "glow-classes_shuffle",
        "glow-network_fn",
        "glow-non_square_no_prior",
        "glow-rgb_additive",
        "level-reversible",
        "level-vector_reversible",
    )
]


@pytest.fixture(params=CASES, scope="module")
def named(request: pytest.FixtureRequest) -> tuple[Case, tfb.Bijector]:
    """A case, and its perturbed bijector in float64, which no test changes."""
    return CASES[request.param], built(request.param)


@pytest.fixture(scope="module")
def evaluated(named) -> tuple[tf.Tensor, ...]:
    """`both_ways` of the case's images, eagerly."""
    case, bijector = named
    return both_ways(case, bijector, case.x(BATCH), **case.kwargs(BATCH))


@pytest.fixture(scope="module")
def traced(named):
    """`to_latent` and `to_image` as `tf.function`s, traced once, for any batch."""
    case, bijector = named
    specs = any_batch(case.kwargs(BATCH))
    z_shape = bijector.inverse_event_shape(case.event_shape)
    inverse = tf.function(lambda x, **kwargs: to_latent(case, bijector, x, **kwargs))
    forward = tf.function(lambda z, **kwargs: to_image(case, bijector, z, **kwargs))
    for function, shape in ((inverse, case.event_shape), (forward, z_shape)):
        spec = tf.TensorSpec([None, *shape], tf.float64)
        function.get_concrete_function(spec, **specs)
    return inverse, forward


@pytest.fixture(scope="module")
def in_float32(named) -> tfb.Bijector:
    """The case's bijector in float32, with the values of the one in float64."""
    case, bijector = named
    twin = case.make(tf.float32, 0)
    for variable, value in zip(twin.variables, bijector.variables, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
    return twin


def event_ndims(case: Case) -> int:
    return len(case.event_shape)


def to_latent(case: Case, bijector: tfb.Bijector, x: tf.Tensor, **kwargs):
    """`inverse`, with its log-determinant."""
    z = bijector.inverse(x, **kwargs)
    return z, bijector.inverse_log_det_jacobian(x, event_ndims(case), **kwargs)


def to_image(case: Case, bijector: tfb.Bijector, z: tf.Tensor, **kwargs):
    """`forward`, with its log-determinant."""
    ndims = len(bijector.inverse_event_shape(case.event_shape))
    x = bijector.forward(z, **kwargs)
    return x, bijector.forward_log_det_jacobian(z, ndims, **kwargs)


def both_ways(case: Case, bijector: tfb.Bijector, x: tf.Tensor, **kwargs):
    """One after the other, through nobody's cache."""
    z, ildj = to_latent(case, bijector, x, **kwargs)
    z_new = tf.identity(z)  # or TFP returns x itself
    return z, ildj, *to_image(case, bijector, z_new, **kwargs)


def any_batch(kwargs):
    return tf.nest.map_structure(
        lambda v: tf.TensorSpec([None, *v.shape[1:]], v.dtype), kwargs
    )


def assert_all_close(actual, expected, tolerance):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_every_public_bijector_is_in_the_registry():
    public = {
        value
        for name in bijectors.__all__
        if inspect.isclass(value := getattr(bijectors, name))
    }
    assert {type(built(name)) for name in CASES} == public
    assert {type(built(name)) for name in SIMPLEST} == public


def test_round_trips_without_the_cache(named, evaluated):
    case, bijector = named
    z, _, y, _ = evaluated
    np.testing.assert_allclose(y, case.x(BATCH), rtol=1e-9, atol=1e-9)
    again = bijector.inverse(tf.identity(y), **case.kwargs(BATCH))
    np.testing.assert_allclose(again, z, rtol=1e-9, atol=1e-9)


def jacobians(case: Case, bijector: tfb.Bijector) -> tf.Tensor:
    """Of `inverse` at each image: one gradient, of as many copies as it has numbers."""
    size = prod(case.event_shape)
    x, kwargs = tf.nest.map_structure(
        lambda v: tf.repeat(v, size, axis=0), (case.x(BATCH), case.kwargs(BATCH))
    )
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = tf.reshape(bijector.inverse(x, **kwargs), [BATCH * size, size])
    each_number = tf.tile(tf.eye(size, dtype=x.dtype), [BATCH, 1])
    return tf.reshape(tape.gradient(z, x, each_number), [BATCH, size, size])


def test_log_det_is_that_of_the_jacobian(named, evaluated):
    _, actual, _, _ = evaluated
    _, expected = np.linalg.slogdet(jacobians(*named))
    np.testing.assert_allclose(actual + np.zeros(BATCH), expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "named", ["logistic_mixture_coupling", "level-reversible"], indirect=True
)
def test_own_gradients_can_be_vectorised(named):
    case, bijector = named
    x, size = case.x(BATCH), prod(case.event_shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = tf.reshape(bijector.inverse(x), [BATCH, size])
    jacobian = tf.reshape(tape.batch_jacobian(z, x), [BATCH, size, size])
    np.testing.assert_allclose(jacobian, jacobians(case, bijector), atol=1e-12)


def test_log_dets_are_opposite(evaluated):
    _, ildj, _, fldj = evaluated
    np.testing.assert_allclose(fldj, -ildj, rtol=1e-9, atol=1e-9)


def test_log_det_is_the_same_in_the_cache_and_alone(named, evaluated):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    z, ildj, y, fldj = evaluated
    z_ndims = z.shape.rank - 1
    alone = bijector.inverse_log_det_jacobian(x, event_ndims(case), **kwargs)
    np.testing.assert_allclose(ildj, alone, rtol=1e-12)
    alone = bijector.forward_log_det_jacobian(tf.identity(z), z_ndims, **kwargs)
    np.testing.assert_allclose(fldj, alone, rtol=1e-12)
    # `forward` has left it for the other direction too.
    cached = bijector.inverse_log_det_jacobian(y, event_ndims(case), **kwargs)
    np.testing.assert_allclose(cached, -alone, rtol=1e-12)


def test_traced_for_any_batch_equals_eager(named, traced, evaluated):
    case, bijector = named
    z_shape = bijector.inverse_event_shape(case.event_shape)
    argument, kwargs = case.x(BATCH), case.kwargs(BATCH)
    for function, expected, shape in zip(
        traced, (evaluated[:2], evaluated[2:]), (z_shape, case.event_shape), strict=True
    ):
        actual = function(argument, **kwargs)
        assert_all_close(actual, expected, 1e-10)
        assert function.experimental_get_tracing_count() == 1
        (concrete,) = function._list_all_concrete_functions()
        value, _ = concrete.structured_outputs
        assert value.shape.as_list() == [None, *shape]
        argument, _ = actual


@pytest.mark.parametrize("named", SIMPLEST, indirect=True)
def test_traced_for_any_sizes_equals_eager(named, evaluated):
    """Of which nothing is known but how many dimensions there are."""
    case, bijector = named
    z, ildj, x, fldj = evaluated
    for function, argument, expected in (
        (to_latent, case.x(BATCH), (z, ildj)),
        (to_image, z, (x, fldj)),
    ):
        sizes = tf.TensorSpec([None] * argument.shape.rank, argument.dtype)
        traced = tf.function(partial(function, case, bijector), input_signature=[sizes])
        assert_all_close(traced(argument), expected, 1e-10)


@pytest.mark.parametrize("named", THOROUGH, indirect=True)
def test_compiled_for_any_batch_equals_eager(named, traced, evaluated):
    case, _ = named
    inverse, forward = traced

    @tf.function(jit_compile=True)
    def compiled(x, **kwargs):
        z, ildj = inverse(x, **kwargs)
        return z, ildj, *forward(z, **kwargs)

    actual = compiled(case.x(BATCH), **case.kwargs(BATCH))
    assert_all_close(actual, evaluated, 1e-10)


@pytest.mark.parametrize("named", THOROUGH, indirect=True)
def test_saved_model_gives_the_same(named, traced, tmp_path):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    module = tf.Module()
    module.bijector = bijector
    module.evaluate, _ = traced
    expected = module.evaluate(x, **kwargs)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert_all_close(loaded.evaluate(x, **kwargs), expected, 1e-12)


@pytest.mark.parametrize("named", SIMPLEST, indirect=True)
def test_traced_in_float32_equals_eager_in_float64(named, in_float32, evaluated):
    case, _ = named
    kwargs = case.kwargs(BATCH)
    signature = tf.TensorSpec([None, *case.event_shape], tf.float32)

    @tf.function(jit_compile=True)
    def traced(x, **kwargs):
        return both_ways(case, in_float32, x, **kwargs)

    concrete = traced.get_concrete_function(signature, **any_batch(kwargs))
    actual = concrete(case.x(BATCH, dtype=tf.float32), *tf.nest.flatten(kwargs))
    assert {value.dtype for value in actual} == {tf.float32}
    assert_all_close(actual, evaluated, 1e-4)


def test_event_shapes_are_those_of_the_values(named, evaluated):
    case, bijector = named
    z, *_ = evaluated
    # An event may have more dimensions than the bijector needs.
    for leading in ([], [5, 2]):
        z_shape = leading + z.shape.as_list()[1:]
        x_shape = leading + list(case.event_shape)
        assert bijector.inverse_event_shape(x_shape).as_list() == z_shape
        assert bijector.forward_event_shape(z_shape).as_list() == x_shape
        shape = bijector.inverse_event_shape_tensor(tf.constant(x_shape))
        assert shape.numpy().tolist() == z_shape
        shape = bijector.forward_event_shape_tensor(tf.constant(z_shape))
        assert shape.numpy().tolist() == x_shape
        assert bijector.inverse_event_ndims(len(x_shape)) == len(z_shape)
        assert bijector.forward_event_ndims(len(z_shape)) == len(x_shape)
        for ndims in ({"x_event_ndims": len(z_shape)}, {"y_event_ndims": len(x_shape)}):
            assert bijector.experimental_batch_shape(**ndims) == []
            batch_shape = bijector.experimental_batch_shape_tensor(**ndims)
            assert batch_shape.numpy().tolist() == []


def test_leading_dimensions_are_a_batch(named, evaluated):
    case, bijector = named
    for leading in ((), (2, 3)):
        actual = both_ways(case, bijector, case.x(*leading), **case.kwargs(*leading))
        for a, b in zip(actual, evaluated, strict=True):
            # A log-determinant that is the same for all inputs has no batch.
            shape = leading + b.shape[1:] if b.shape.rank else ()
            assert a.shape == shape
            b = tf.reshape(b[: prod(leading)] if b.shape.rank else b, shape)
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_log_det_of_a_larger_event_is_the_sum(named, evaluated):
    case, bijector = named
    x, kwargs = case.x(2, 3), case.kwargs(2, 3)
    z, ildj, _, _ = evaluated
    z = tf.reshape(z, [2, 3, *z.shape[1:]])
    expected = np.sum(np.reshape(ildj + np.zeros(BATCH), [2, 3]), axis=-1)
    ndims = event_ndims(case) + 1
    actual = bijector.inverse_log_det_jacobian(x, ndims, **kwargs)
    np.testing.assert_allclose(actual + np.zeros(2), expected, atol=1e-9)
    ndims = z.shape.rank - 1
    actual = bijector.forward_log_det_jacobian(z, ndims, **kwargs)
    np.testing.assert_allclose(actual + np.zeros(2), -expected, atol=1e-9)
    for too_few in range(bijector.inverse_min_event_ndims):
        with pytest.raises(ValueError, match="event_ndims must be at least"):
            bijector.inverse_log_det_jacobian(x, too_few, **kwargs)


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_gradients_reach_every_variable_and_the_context(named, evaluated, direction):
    case, bijector = named
    z, *_ = evaluated
    argument, ndims = (
        (case.x(BATCH), event_ndims(case))
        if direction == "inverse"
        else (tf.identity(z), z.shape.rank - 1)
    )
    kwargs = case.kwargs(BATCH)
    contexts = [v for v in tf.nest.flatten(kwargs) if v.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(contexts)
        value = getattr(bijector, direction)(argument, **kwargs)
        log_det = getattr(bijector, f"{direction}_log_det_jacobian")(
            argument, ndims, **kwargs
        )
        loss = tf.reduce_sum(value**2) / 2 - log_det
    used = {id(v) for v in tape.watched_variables()}
    assert used == {id(v) for v in bijector.trainable_variables}
    for gradient in tape.gradient(loss, [*bijector.trainable_variables, *contexts]):
        gradient = tf.convert_to_tensor(gradient)  # of a gather it is sparse
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient)


def test_variables_survive_composition(named):
    case, bijector = named
    composed = tfb.Invert(tfb.Chain([bijector, tfb.Identity()]))
    base = tfd.Sample(tfd.Normal(np.float64(0), 1.0), list(case.event_shape))
    distribution = tfd.TransformedDistribution(base, composed)
    for holder in (composed, distribution):
        for kind in ("variables", "trainable_variables"):
            found = {id(v) for v in getattr(holder, kind)}
            assert found == {id(v) for v in getattr(bijector, kind)}


def test_evaluates_inside_compositions(named, evaluated):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    under_name = {bijector.name: kwargs} if kwargs else {}
    ndims = event_ndims(case)
    z, ildj, _, _ = evaluated
    twice = tfb.Scale(np.float64(2))
    log_det_of_twice = -prod(case.event_shape) * np.log(2)

    # Forward it is what `Chain.inverse` is: x = bijector(2 z).
    invert = tfb.Invert(tfb.Chain([bijector, twice]))
    np.testing.assert_allclose(invert.forward(x, **under_name), z / 2)
    log_det = invert.forward_log_det_jacobian(x, ndims, **under_name)
    np.testing.assert_allclose(log_det, ildj + log_det_of_twice)
    y = invert.inverse(tf.identity(z) / 2, **under_name)
    np.testing.assert_allclose(y, x, atol=1e-9)

    joint = tfb.JointMap({"ours": bijector, "other": twice})
    assert {id(v) for v in joint.variables} == {id(v) for v in bijector.variables}
    both = {"ours": tf.identity(x), "other": tf.identity(x)}
    zs = joint.inverse(both, **under_name)
    np.testing.assert_allclose(zs["ours"], z)
    np.testing.assert_allclose(zs["other"], x / 2)
    log_det = joint.inverse_log_det_jacobian(
        both, {"ours": ndims, "other": ndims}, **under_name
    )
    np.testing.assert_allclose(log_det, ildj + log_det_of_twice)


def test_evaluates_in_a_transformed_distribution(named):
    """Of events with one dimension more than the bijector needs."""
    case, bijector = named
    event_shape = [2, *case.event_shape]
    base = tfd.Sample(
        tfd.Normal(np.float64(0.1), 0.5), bijector.inverse_event_shape(event_shape)
    )
    distribution = tfd.TransformedDistribution(base, bijector)
    assert distribution.event_shape.as_list() == event_shape
    assert distribution.event_shape_tensor().numpy().tolist() == event_shape
    assert distribution.batch_shape == []
    kwargs = case.kwargs(3, 1, 2)
    x, log_prob = distribution.experimental_sample_and_log_prob(
        [3, 1], seed=[0, 1], bijector_kwargs=kwargs
    )
    assert x.shape == [3, 1, *event_shape]
    new = tf.identity(x)
    again = distribution.log_prob(new, bijector_kwargs=kwargs)
    np.testing.assert_allclose(again, log_prob)
    log_det = bijector.inverse_log_det_jacobian(new, len(event_shape), **kwargs)
    expected = base.log_prob(bijector.inverse(new, **kwargs)) + log_det
    np.testing.assert_allclose(again, expected)


def test_equal_to_its_copy(named):
    _, bijector = named
    copy = bijector.copy()
    assert copy == bijector
    assert hash(copy) == hash(bijector)
    for text in (repr(bijector), str(bijector)):
        assert type(bijector).__name__ in text
        assert bijector.name in text


def test_a_deep_copy_is_equal_to_its_own_copies(named, evaluated):
    case, bijector = named
    hash(bijector)
    deep_copy = deepcopy(bijector)
    copy = deep_copy.copy()
    assert copy == deep_copy
    assert hash(copy) == hash(deep_copy)
    own = {id(v) for v in bijector.variables}
    assert not own & {id(v) for v in deep_copy.variables}
    assert len(deep_copy.variables) == len(own)
    z = deep_copy.inverse(case.x(BATCH), **case.kwargs(BATCH))
    np.testing.assert_array_equal(z, evaluated[0])


@pytest.mark.parametrize(
    "name", ["lu_invertible_conv", "affine_coupling", "level-shuffle", "glow"]
)
def test_without_a_seed_keras_s_decides(name):
    bijectors = []
    for seed in (3, 3, None):
        if seed is not None:
            keras.utils.set_random_seed(seed)
        bijectors.append(CASES[name].make(tf.float64, None))
    first, again, other = bijectors
    for a, b in zip(first.variables, again.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = zip(first.variables, other.variables, strict=True)
    assert any(np.any(a != b) for a, b in pairs)


def test_copy_shares_variables_and_validate_args_changes_no_value(named, evaluated):
    case, bijector = named
    copy = bijector.copy(name="copy", validate_args=True)
    assert copy.name == "copy"
    assert copy.validate_args
    assert [id(v) for v in copy.variables] == [id(v) for v in bijector.variables]
    actual = both_ways(case, copy, case.x(BATCH), **case.kwargs(BATCH))
    for a, b in zip(actual, evaluated, strict=True):
        np.testing.assert_array_equal(a, b)


def test_float32_equals_float64(named, in_float32, evaluated):
    case, _ = named
    assert in_float32.forward_dtype(tf.float32) == tf.float32
    assert in_float32.inverse_dtype(tf.float32) == tf.float32
    x, kwargs = case.x(BATCH, dtype=tf.float32), case.kwargs(BATCH)
    actual = both_ways(case, in_float32, x, **kwargs)
    assert {value.dtype for value in actual} == {tf.float32}
    assert_all_close(actual, evaluated, 1e-4)
    # A user's arrays are taken as they are: no tensor, and in whatever precision.
    values = both_ways(case, in_float32, x.numpy(), **kwargs)
    for a, b in zip(values, actual, strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_restores_into_a_new_bijector(named, evaluated, tmp_path):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    other = case.make(tf.float64, 1)
    expected, *_ = evaluated
    if bijector.variables:
        assert bijector != other
        assert np.any(other.inverse(tf.identity(x), **kwargs) != expected)
    path = tf.train.Checkpoint(bijector=bijector).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(bijector=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.inverse(tf.identity(x), **kwargs), expected)
