"""What TFP's own test utilities assert of a bijector, which its wheel lacks.

After `bijector_test_util` and `bijector_properties_test` in TFP's repository.
"""

from math import prod

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from cases import CASES, Case, built, perturb

from tfp_glow.bijectors import (
    ActNormBijector,
    Glow,
    GlowAdditiveCoupling,
    GlowStep,
    LUInvertibleConv,
    MultiScaleChain,
    Squeeze,
    TopPrior,
)

tfb = tfp.bijectors
tfd = tfp.distributions


@pytest.fixture(params=CASES, scope="module")
def named(request: pytest.FixtureRequest) -> tuple[Case, tfb.Bijector]:
    return CASES[request.param], built(request.param)


def z_shape(case: Case, bijector: tfb.Bijector) -> list[int]:
    return bijector.inverse_event_shape(case.event_shape).as_list()


def grid(event_shape):
    """Four arrays whose numbers lie evenly in [-r, r], r from 0 to 2."""
    numbers = np.linspace(-1, 1, prod(event_shape)).reshape(event_shape)
    radii = np.reshape([0, 0.1, 1, 2], [4] + [1] * len(event_shape))
    return tf.constant(radii * numbers, tf.float32)


@pytest.mark.parametrize("name", CASES)
def test_bijective_and_finite_on_a_grid(name):
    """`assert_bijective_and_finite`, in float32, and not by the cache."""
    case, bijector = CASES[name], built(name, tf.float32)
    z = grid(z_shape(case, bijector))
    x = grid(case.event_shape)
    kwargs = case.kwargs(4)
    z_ndims, x_ndims = z.shape.rank - 1, x.shape.rank - 1

    y = tf.identity(bijector.forward(z, **kwargs))
    again = bijector.inverse(y, **kwargs)
    np.testing.assert_allclose(again, z, rtol=1e-4, atol=1e-4)
    fldj = bijector.forward_log_det_jacobian(z, event_ndims=z_ndims, **kwargs)
    ildj = bijector.inverse_log_det_jacobian(y, event_ndims=x_ndims, **kwargs)
    np.testing.assert_allclose(ildj, -fldj, rtol=1e-4, atol=1e-4)

    y = tf.identity(bijector.inverse(x, **kwargs))
    again = bijector.forward(y, **kwargs)
    np.testing.assert_allclose(again, x, rtol=1e-4, atol=1e-4)
    ildj = bijector.inverse_log_det_jacobian(x, event_ndims=x_ndims, **kwargs)
    fldj = bijector.forward_log_det_jacobian(y, event_ndims=z_ndims, **kwargs)
    np.testing.assert_allclose(fldj, -ildj, rtol=1e-4, atol=1e-4)
    assert np.all(np.isfinite(ildj))


def numeric_jacobians(case: Case, bijector: tfb.Bijector, z: np.ndarray) -> np.ndarray:
    """Central differences of `forward`, `[B, size, size]`: no gradients."""
    size = prod(z.shape[1:])
    step = 1e-6 * np.eye(size).reshape([size, *z.shape[1:]])
    label = tf.nest.map_structure(lambda v: v[0], case.kwargs(1))
    ends = bijector.forward(z[:, np.newaxis] + np.stack([[step], [-step]]), **label)
    slopes = np.reshape((ends[0] - ends[1]) / 2e-6, [len(z), size, size])
    return slopes.swapaxes(1, 2)


def test_forward_log_det_is_that_of_the_numeric_jacobian(named):
    """`get_fldj_theoretical`, but for its gradients, which a bijector may define."""
    case, bijector = named
    shape = z_shape(case, bijector)
    z = np.random.default_rng(0).normal(size=[2, *shape])
    jacobians = numeric_jacobians(case, bijector, z)
    label = tf.nest.map_structure(lambda v: v[0], case.kwargs(1))
    log_dets = bijector.forward_log_det_jacobian(z, event_ndims=len(shape), **label)
    expected = np.linalg.slogdet(jacobians)[1]
    np.testing.assert_allclose(log_dets + np.zeros(2), expected, atol=1e-7)
    is_constant = np.allclose(jacobians[0], jacobians[1], atol=1e-7)
    assert bijector.is_constant_jacobian == is_constant


@pytest.mark.parametrize("name", ["act_norm", "lu_invertible_conv"])
def test_scalar_congruency(name):
    """`assert_scalar_congruency`, of one channel as a function of the real line."""
    cls = type(built(name))
    bijector = cls(1, dtype=tf.float64)
    perturb(bijector)
    scalar = tfb.Chain([tfb.Reshape([], [1]), bijector, tfb.Reshape([1], [])])
    lower, upper = -2.0, 3.0
    y = scalar.forward(np.linspace(lower, upper, 10))
    steps = np.diff(y)
    assert np.all(steps > 0) or np.all(steps < 0)
    np.testing.assert_allclose(scalar.inverse(tf.identity(y))[-1], upper)
    # The length of [lower, upper] is the mean of |dx/dy| times that of its image.
    points = tf.random.stateless_uniform(
        [1000], [0, 1], *np.sort(scalar.forward([lower, upper])), tf.float64
    )
    dx_dy = tf.exp(scalar.inverse_log_det_jacobian(points, event_ndims=0))
    length = np.abs(y[-1] - y[0]) * np.mean(dx_dy)
    np.testing.assert_allclose(length, upper - lower)
    x = tf.identity(scalar.inverse(points))
    dy_dx = tf.exp(scalar.forward_log_det_jacobian(x, event_ndims=0))
    np.testing.assert_allclose(dx_dy, 1 / dy_dx)


def test_cache_returns_the_very_input(named):
    case, bijector = named
    x, kwargs = case.x(2), case.kwargs(2)
    z = bijector.inverse(x, **kwargs)
    assert bijector.forward(z, **kwargs) is x
    assert bijector.inverse(x, **kwargs) is z
    z = tf.identity(z)
    assert bijector.inverse(bijector.forward(z, **kwargs), **kwargs) is z


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].kwargs()])
def test_arrays_that_change_in_place_are_other_arguments(name):
    """TFP knows them by identity; `z` is kept, or its cache would have forgotten."""
    case, bijector = CASES[name], built(name)
    x, kwargs = case.x(2), tf.nest.map_structure(np.array, case.kwargs(2))
    z = bijector.inverse(x, **kwargs)
    assert bijector.inverse(x, **kwargs) is z
    assert bijector.forward(z, **kwargs) is x
    for array in tf.nest.flatten(kwargs):
        array[:] = array[::-1].copy()
    actual = bijector.inverse(x, **kwargs)
    assert np.any(actual != z)
    expected = bijector.inverse(tf.identity(x), **kwargs)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    "name",
    [
        "act_norm",
        "lu_invertible_conv",
        "affine_coupling",
        "affine_coupling-keras",
        "additive_coupling",
        "logistic_mixture_coupling",
        "squeeze",
        "top_prior-classes",
        "step",
        "level",
        "multi_scale",
        "glow-classes_shuffle",
        "glow-non_square_no_prior",
    ],
)
def test_vectorized_map_equals_a_batch(name):
    """What auto-batched joint distributions do."""
    case, bijector = CASES[name], built(name)
    ndims = len(case.event_shape)
    x, kwargs = case.x(3), case.kwargs(3)
    z = tf.identity(bijector.inverse(x, **kwargs))

    def evaluate(one):
        one_x, one_z, one_kwargs = one
        return (
            bijector.inverse(one_x, **one_kwargs),
            bijector.inverse_log_det_jacobian(one_x, ndims, **one_kwargs),
            bijector.forward(one_z, **one_kwargs),
        )

    z_new, ildj, x_new = tf.vectorized_map(
        evaluate, (x, z, kwargs), fallback_to_while_loop=False
    )
    np.testing.assert_allclose(z_new, z, atol=1e-9)
    np.testing.assert_allclose(x_new, x, atol=1e-9)
    expected = bijector.inverse_log_det_jacobian(x, ndims, **kwargs)
    np.testing.assert_allclose(ildj, expected + np.zeros(3), atol=1e-9)


def batched(cls: type, channels: int) -> tfb.Bijector:
    """Two bijectors in one: parameters `[2, 1, 1, ...]`, for images."""
    ones = []
    for seed in range(2):
        arguments = {"seed": seed} if cls is LUInvertibleConv else {}
        one = cls(channels, dtype=tf.float64, **arguments)
        perturb(one, seed)
        keys = cls.parameter_properties()
        ones.append({key: tf.convert_to_tensor(getattr(one, key)) for key in keys})
    parameters = tf.nest.map_structure(
        lambda *values: tf.stack(values)[:, tf.newaxis, tf.newaxis], *ones
    )
    return cls(channels, **parameters)


def batched_step() -> GlowStep:
    return GlowStep(
        batched(ActNormBijector, 4),
        batched(LUInvertibleConv, 4),
        GlowAdditiveCoupling(4, hidden_channels=4, dtype=tf.float64),
    )


def batched_levels() -> MultiScaleChain:
    level = tfb.Chain([Squeeze(), batched(ActNormBijector, 4)])
    return MultiScaleChain([level, Squeeze()], [4, 4, 1], dtype=tf.float64)


@pytest.mark.parametrize(
    ("make", "event_shape"),
    [
        (lambda: batched(ActNormBijector, 3), [2, 3, 3]),
        (lambda: batched(LUInvertibleConv, 3), [2, 3, 3]),
        (batched_step, [2, 3, 4]),
        (batched_levels, [4, 4, 1]),
        (lambda: Glow([4, 4, 1], chain=batched_levels()), [4, 4, 1]),
    ],
    ids=["act_norm", "lu_invertible_conv", "step", "multi_scale", "glow"],
)
def test_batch_of_parameters_is_a_batch_of_bijectors(make, event_shape):
    bijector = make()
    assert bijector.experimental_batch_shape(y_event_ndims=3) == [2]
    shape = bijector.experimental_batch_shape_tensor(y_event_ndims=3)
    assert shape.numpy().tolist() == [2]
    # With the batch's dimension in the event there is no batch left.
    assert bijector.experimental_batch_shape(y_event_ndims=4)[-1:] != [2]

    base = tfd.Sample(
        tfd.Normal(np.float64(0), 1.0), bijector.inverse_event_shape(event_shape)
    )
    distribution = tfd.TransformedDistribution(base, bijector)
    assert distribution.batch_shape == [2]
    x, log_prob = distribution.experimental_sample_and_log_prob([5], seed=[0, 1])
    assert x.shape == [5, 2, *event_shape]
    assert log_prob.shape == [5, 2]
    log_prob = distribution.log_prob(tf.identity(x))
    size = prod(event_shape)
    for k in range(2):
        with tf.GradientTape() as tape:
            one = tf.identity(x[:1])
            tape.watch(one)
            z = tf.reshape(bijector.inverse(one)[:, k], [1, size])
        jacobian = tape.batch_jacobian(z, one)[:, :, k]
        log_det = np.linalg.slogdet(np.reshape(jacobian, [size, size]))[1]
        expected = np.sum(tfd.Normal(np.float64(0), 1.0).log_prob(z)) + log_det
        np.testing.assert_allclose(log_prob[0, k], expected)


@pytest.mark.parametrize("cls", [ActNormBijector, LUInvertibleConv])
def test_slice_of_a_batch_is_one_of_its_bijectors(cls):
    bijector = batched(cls, 3)
    one = bijector[1, 0, 0]
    assert type(one) is cls
    assert one.experimental_batch_shape() == []
    x = tf.constant(np.random.default_rng(0).normal(size=[2, 4, 5, 3]))
    np.testing.assert_allclose(one.inverse(x[1]), bijector.inverse(x)[1])


def test_moments_of_linear_bijectors():
    """A constant Jacobian promises TFP mean and covariance in closed form."""
    bijector = tfb.Chain([built("lu_invertible_conv"), tfb.Shift(np.ones(4))])
    matrix = bijector.forward(np.eye(4)) - bijector.forward(np.zeros([1, 4]))
    base = tfd.MultivariateNormalDiag(np.arange(4.0), [1.0, 2.0, 3.0, 4.0])
    distribution = tfd.TransformedDistribution(base, bijector)
    np.testing.assert_allclose(
        distribution.mean(), bijector.forward(tf.identity(base.mean()))
    )
    covariance = tf.transpose(matrix) @ base.covariance() @ matrix
    np.testing.assert_allclose(distribution.covariance(), covariance, atol=1e-12)
    entropy = tfd.MultivariateNormalFullCovariance(np.zeros(4), covariance).entropy()
    np.testing.assert_allclose(distribution.entropy(), entropy)

    scale = tf.reshape(tf.range(1.0, 17.0), [2, 2, 4])
    base = tfd.Independent(tfd.Normal(tf.zeros([2, 2, 4]), scale), 3)
    moved = tfd.TransformedDistribution(base, Squeeze())
    np.testing.assert_array_equal(moved.stddev(), Squeeze().forward(scale))


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("sign", [1.0, 0.0]),
        ("permutation", [[0.5, 0.5], [0.5, 0.5]]),
        ("permutation", [[1.0, 1.0], [0.0, 0.0]]),
    ],
)
def test_validate_args_finds_what_makes_a_matrix_singular(part, value):
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    given = LUInvertibleConv.decompose(matrix) | {part: tf.constant(value)}
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{part}` must"):
        LUInvertibleConv(2, **given, validate_args=True)

    variables = {k: tf.Variable(v) for k, v in given.items()}
    bijector = LUInvertibleConv(2, **variables, validate_args=True)
    for inverse in (bijector.inverse, tf.function(bijector.inverse)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"`{part}` must"):
            inverse(tf.ones([1, 2]))
    variables[part].assign(LUInvertibleConv.decompose(matrix)[part])
    np.testing.assert_allclose(bijector.inverse(tf.ones([1, 2])), [[4, 6]])


@pytest.mark.parametrize("cls", [ActNormBijector, TopPrior])
def test_one_channel_is_not_taken_for_several(cls):
    """As it would be by broadcasting where channels are unknown when it is traced."""
    bijector, sizes = cls(4), tf.TensorSpec([None] * 4)
    for direction in (bijector.inverse, bijector.forward):
        function = tf.function(direction, input_signature=[sizes])
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"\?,4\]"):
            function(tf.zeros([2, 3, 3, 1]))


def test_squeeze_of_unknown_sizes_that_do_not_divide_raises():
    """Four images of 5 x 5 hold as many numbers as some images of 4 x 4 would."""
    squeeze = tf.function(
        Squeeze().inverse, input_signature=[tf.TensorSpec([None, None, None, 1])]
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="reshape"):
        squeeze(tf.zeros([16, 5, 5, 1]))
    assert squeeze(tf.zeros([16, 4, 6, 1])).shape == [16, 2, 3, 4]
    with pytest.raises(ValueError, match=r"height, width, channels.*Received: .*\(3,"):
        Squeeze().inverse_event_shape([3, 4])
