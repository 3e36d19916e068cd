"""What every bijector owes, for every bijector in the registry."""

import inspect
from functools import cache
from math import prod

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, Case, make_perturbed

from tfp_glow import bijectors

tfb = tfp.bijectors
tfd = tfp.distributions

BATCH = 3


@cache
def built(name: str) -> tfb.Bijector:
    """The perturbed bijector of a case, in float64; no test changes it."""
    return make_perturbed(CASES[name])


@pytest.fixture(params=CASES, scope="module")
def named(request: pytest.FixtureRequest) -> tuple[Case, tfb.Bijector]:
    return CASES[request.param], built(request.param)


# One case a class, the one with the fewest variables.
SIMPLEST = {
    type(built(name)): name
    for name in sorted(CASES, key=lambda name: -len(built(name).variables))
}.values()


def float32_twin(name: str) -> tfb.Bijector:
    """The case's bijector in float32, with the values of the one in float64."""
    bijector = CASES[name].make(tf.float32, 0)
    for variable, value in zip(bijector.variables, built(name).variables, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
    return bijector


def event_ndims(case: Case) -> int:
    return len(case.event_shape)


def both_ways(case: Case, bijector: tfb.Bijector, x: tf.Tensor, **kwargs):
    """`inverse` and `forward` with their log-determinants, through nobody's cache."""
    z = bijector.inverse(x, **kwargs)
    ildj = bijector.inverse_log_det_jacobian(x, event_ndims(case), **kwargs)
    z_new = tf.identity(z)  # or TFP returns x itself
    ndims = len(bijector.inverse_event_shape(case.event_shape))
    y = bijector.forward(z_new, **kwargs)
    fldj = bijector.forward_log_det_jacobian(z_new, ndims, **kwargs)
    return z, ildj, y, fldj


def any_batch(kwargs):
    return tf.nest.map_structure(
        lambda v: tf.TensorSpec([None, *v.shape[1:]], v.dtype), kwargs
    )


def negative_log_prob(case: Case, bijector: tfb.Bijector, x: tf.Tensor, **kwargs):
    """`[B]`, of a standard normal base; eager, traced or saved."""
    z = bijector.inverse(x, **kwargs)
    log_det = bijector.inverse_log_det_jacobian(x, event_ndims(case), **kwargs)
    axes = list(range(x.shape.rank - event_ndims(case), z.shape.rank))
    return tf.reduce_sum(z**2 / 2, axes) - log_det


def test_every_public_bijector_is_in_the_registry():
    public = {
        value
        for name in bijectors.__all__
        if inspect.isclass(value := getattr(bijectors, name))
    }
    assert {type(built(name)) for name in CASES} == public


def test_round_trips_without_the_cache(named):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    z, _, y, _ = both_ways(case, bijector, x, **kwargs)
    np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-9)
    again = bijector.inverse(tf.identity(y), **kwargs)
    np.testing.assert_allclose(again, z, rtol=1e-9, atol=1e-9)


def test_log_det_is_that_of_the_jacobian(named):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    size = prod(case.event_shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        z = tf.reshape(bijector.inverse(x, **kwargs), [BATCH, size])
    jacobian = tf.reshape(tape.batch_jacobian(z, x), [BATCH, size, size])
    _, expected = np.linalg.slogdet(jacobian)
    actual = bijector.inverse_log_det_jacobian(
        tf.identity(x), event_ndims(case), **kwargs
    )
    np.testing.assert_allclose(actual + np.zeros(BATCH), expected, rtol=1e-8, atol=1e-8)


def test_log_dets_are_opposite(named):
    case, bijector = named
    _, ildj, _, fldj = both_ways(case, bijector, case.x(BATCH), **case.kwargs(BATCH))
    np.testing.assert_allclose(fldj, -ildj, rtol=1e-9, atol=1e-9)


def test_log_det_is_the_same_in_the_cache_and_alone(named):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    z, ildj, y, fldj = both_ways(case, bijector, x, **kwargs)
    z_ndims = z.shape.rank - 1
    alone = bijector.inverse_log_det_jacobian(
        tf.identity(x), event_ndims(case), **kwargs
    )
    np.testing.assert_allclose(ildj, alone, rtol=1e-12)
    alone = bijector.forward_log_det_jacobian(tf.identity(z), z_ndims, **kwargs)
    np.testing.assert_allclose(fldj, alone, rtol=1e-12)
    # `forward` has left it for the other direction too.
    cached = bijector.inverse_log_det_jacobian(y, event_ndims(case), **kwargs)
    np.testing.assert_allclose(cached, -alone, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True], ids=["graph", "xla"])
def test_traced_for_any_batch_equals_eager(named, jit_compile):
    case, bijector = named
    z_shape = bijector.inverse_event_shape(case.event_shape)
    signature = tf.TensorSpec([None, *case.event_shape], tf.float64)
    static_shapes = []

    @tf.function(jit_compile=jit_compile)
    def traced(x, **kwargs):
        values = both_ways(case, bijector, x, **kwargs)
        static_shapes.extend(value.shape.as_list() for value in values[::2])
        return values

    kwargs = case.kwargs(BATCH)
    specs = any_batch(kwargs)
    concrete = traced.get_concrete_function(signature, **specs)
    assert static_shapes == [[None, *z_shape], [None, *case.event_shape]]

    x = case.x(BATCH)
    expected = both_ways(case, bijector, tf.identity(x), **kwargs)
    actual = concrete(x, *tf.nest.flatten(kwargs))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", SIMPLEST)
def test_traced_in_float32_equals_eager_in_float64(name):
    case, bijector = CASES[name], float32_twin(name)
    x, kwargs = case.x(BATCH, dtype=tf.float32), case.kwargs(BATCH)
    signature = tf.TensorSpec([None, *case.event_shape], tf.float32)
    specs = any_batch(kwargs)

    @tf.function(jit_compile=True)
    def traced(x, **kwargs):
        return both_ways(case, bijector, x, **kwargs)

    concrete = traced.get_concrete_function(signature, **specs)
    actual = concrete(x, *tf.nest.flatten(kwargs))
    expected = both_ways(case, built(name), case.x(BATCH), **kwargs)
    for a, b in zip(actual, expected, strict=True):
        assert a.dtype == tf.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_event_shapes_are_those_of_the_values(named):
    case, bijector = named
    z = bijector.inverse(case.x(BATCH), **case.kwargs(BATCH))
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


@pytest.mark.parametrize("leading", [(), (2, 3)])
def test_leading_dimensions_are_a_batch(named, leading):
    case, bijector = named
    batch = prod(leading)
    expected = both_ways(case, bijector, case.x(batch), **case.kwargs(batch))
    actual = both_ways(case, bijector, case.x(*leading), **case.kwargs(*leading))
    for a, b in zip(actual, expected, strict=True):
        # A log-determinant that is the same for all inputs has no batch.
        shape = leading + b.shape[1:] if b.shape.rank else ()
        assert a.shape == shape
        np.testing.assert_allclose(a, tf.reshape(b, shape), rtol=1e-10, atol=1e-10)


def test_log_det_of_a_larger_event_is_the_sum(named):
    case, bijector = named
    x, kwargs = case.x(2, 3), case.kwargs(2, 3)
    z, ildj, _, _ = both_ways(case, bijector, x, **kwargs)
    expected = np.sum(ildj + np.zeros([2, 3]), axis=-1)
    ndims = event_ndims(case) + 1
    actual = bijector.inverse_log_det_jacobian(tf.identity(x), ndims, **kwargs)
    np.testing.assert_allclose(actual + np.zeros(2), expected, atol=1e-9)
    ndims = z.shape.rank - 1
    actual = bijector.forward_log_det_jacobian(tf.identity(z), ndims, **kwargs)
    np.testing.assert_allclose(actual + np.zeros(2), -expected, atol=1e-9)
    for too_few in range(bijector.inverse_min_event_ndims):
        with pytest.raises(ValueError, match="event_ndims must be at least"):
            bijector.inverse_log_det_jacobian(x, too_few, **kwargs)


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_gradients_reach_every_variable_and_the_context(named, direction):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    contexts = [v for v in tf.nest.flatten(kwargs) if v.dtype.is_floating]
    z = tf.identity(bijector.inverse(x, **kwargs))
    with tf.GradientTape() as tape:
        tape.watch(contexts)
        if direction == "inverse":
            loss = negative_log_prob(case, bijector, tf.identity(x), **kwargs)
        else:
            log_det = bijector.forward_log_det_jacobian(z, z.shape.rank - 1, **kwargs)
            loss = tf.reduce_sum(bijector.forward(z, **kwargs) ** 2) + log_det
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


def test_evaluates_inside_compositions(named):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    under_name = {bijector.name: kwargs} if kwargs else {}
    ndims = event_ndims(case)
    z = bijector.inverse(x, **kwargs)
    ildj = bijector.inverse_log_det_jacobian(x, ndims, **kwargs)
    twice = tfb.Scale(np.float64(2))
    log_det_of_twice = -prod(case.event_shape) * np.log(2)

    chain = tfb.Chain([bijector, twice])  # x = bijector(2 z)
    np.testing.assert_allclose(chain.inverse(tf.identity(x), **under_name), z / 2)
    log_det = chain.inverse_log_det_jacobian(tf.identity(x), ndims, **under_name)
    np.testing.assert_allclose(log_det, ildj + log_det_of_twice)
    y = chain.forward(tf.identity(z) / 2, **under_name)
    np.testing.assert_allclose(y, x, atol=1e-9)

    invert = tfb.Invert(bijector)
    np.testing.assert_allclose(invert.forward(tf.identity(x), **kwargs), z)
    log_det = invert.forward_log_det_jacobian(tf.identity(x), ndims, **kwargs)
    np.testing.assert_allclose(log_det, ildj)
    np.testing.assert_allclose(invert.inverse(tf.identity(z), **kwargs), x, atol=1e-9)

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


def test_validate_args_changes_no_value(named):
    case, bijector = named
    checked = bijector.copy(validate_args=True)
    assert checked.validate_args
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    actual = both_ways(case, checked, tf.identity(x), **kwargs)
    expected = both_ways(case, bijector, x, **kwargs)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_equal_to_its_copy_alone(named):
    case, bijector = named
    copy = bijector.copy()
    assert copy == bijector
    assert hash(copy) == hash(bijector)
    if bijector.variables:
        assert bijector != make_perturbed(case, seed=1)
    for text in (repr(bijector), str(bijector)):
        assert type(bijector).__name__ in text
        assert bijector.name in text


def test_copy_shares_variables(named):
    case, bijector = named
    copy = bijector.copy(name="copy")
    assert copy.name == "copy"
    assert [id(v) for v in copy.variables] == [id(v) for v in bijector.variables]
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    np.testing.assert_array_equal(
        copy.inverse(tf.identity(x), **kwargs), bijector.inverse(x, **kwargs)
    )


@pytest.mark.parametrize("name", CASES)
def test_float32_equals_float64(name):
    case, bijector = CASES[name], float32_twin(name)
    assert bijector.forward_dtype(tf.float32) == tf.float32
    assert bijector.inverse_dtype(tf.float32) == tf.float32
    x, kwargs = case.x(BATCH, dtype=tf.float32), case.kwargs(BATCH)
    actual = both_ways(case, bijector, x, **kwargs)
    assert {value.dtype for value in actual} == {tf.float32}
    expected = both_ways(case, built(name), case.x(BATCH), **kwargs)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    # A user's arrays are taken as they are: no tensor, and in whatever precision.
    values = both_ways(case, bijector, x.numpy(), **kwargs)
    for a, b in zip(values, actual, strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoint_restores_into_a_new_bijector(named, tmp_path):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    other = case.make(tf.float64, 1)
    expected = bijector.inverse(tf.identity(x), **kwargs)
    if bijector.variables:
        assert np.any(other.inverse(tf.identity(x), **kwargs) != expected)
    path = tf.train.Checkpoint(bijector=bijector).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(bijector=other).read(path).assert_consumed()
    np.testing.assert_array_equal(other.inverse(tf.identity(x), **kwargs), expected)


def test_saved_model_gives_the_same(named, tmp_path):
    case, bijector = named
    x, kwargs = case.x(BATCH), case.kwargs(BATCH)
    module = tf.Module()
    module.bijector = bijector
    module.evaluate = tf.function(
        lambda x, **kwargs: negative_log_prob(case, bijector, x, **kwargs)
    )
    expected = module.evaluate(x, **kwargs)
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(loaded.evaluate(x, **kwargs), expected, rtol=1e-12)
