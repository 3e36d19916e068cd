import re
from contextlib import nullcontext
from copy import deepcopy
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfp_glow import convolution
from tfp_glow.layers import EdgeConv
from tfp_glow.networks import GlowNetwork, standardizing_parameters
from tfp_glow.user_network import UserNetwork


def random_images(*shape):
    return tf.random.stateless_normal(shape, seed=[0, 0], dtype=tf.float64)


def perturbed(network):
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign_add(rng.normal(scale=0.2, size=variable.shape))
    return network


def openai_conv(x, kernel, shift, raw_log_scale):
    """`add_edge_padding`, a VALID convolution, then act-norm, as in openai/glow."""
    if kernel.shape[0] == 3:
        around = [[0, 0], [1, 1], [1, 1], [0, 0]]
        edge = tf.pad(tf.zeros_like(x[..., :1]), around, constant_values=1)
        x = tf.concat([tf.pad(x, around), edge], axis=-1)
    x = tf.nn.conv2d(x, kernel, 1, "VALID")
    return (x + shift) * tf.exp(3 * raw_log_scale)


def openai_network(x, p):
    x = tf.nn.relu(openai_conv(x, p["kernel_1"], p["shift_1"], p["raw_log_scale_1"]))
    x = tf.nn.relu(openai_conv(x, p["kernel_2"], p["shift_2"], p["raw_log_scale_2"]))
    return openai_conv(x, p["kernel_3"], p["bias_3"], p["raw_log_scale_3"])


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (4, 3)])
def test_edge_conv_is_openai_s(shape):
    network = perturbed(EdgeConv(2, 3, dtype=tf.float64))
    x = random_images(2, *shape, 2)
    p = network.parameters
    expected = openai_conv(x, p["kernel"], p["bias"], p["raw_log_scale"])
    np.testing.assert_allclose(network(x), expected, rtol=1e-10, atol=1e-12)


# The first layer is a convolution and a map of the edge, a convolution that sees the
# edge as a channel, or a product of patches; the last a convolution or a product. For
# an accelerator those of wide networks are products.
WIDTHS = pytest.mark.parametrize("width", [5, 10, 40, 120, 264])


@pytest.fixture(params=["Eigen", "oneDNN", "accelerator"])
def device(request, monkeypatch):
    monkeypatch.setattr(convolution, "has_onednn", lambda: request.param == "oneDNN")
    monkeypatch.setattr(convolution, "_has_gpu", lambda: False)
    is_one = request.param == "accelerator"
    with convolution.for_accelerator() if is_one else nullcontext():
        yield


@WIDTHS
@pytest.mark.parametrize(
    ("shape", "channels"),
    [((1, 1), (2, 3)), ((2, 5), (2, 3)), ((4, 3), (2, 3)), ((4, 3), (6, 8))],
)
@pytest.mark.usefixtures("device")
def test_glow_network_is_openai_s(shape, channels, width):
    network = GlowNetwork(*channels, hidden_channels=width, dtype=tf.float64, seed=0)
    p = perturbed(network).parameters
    x = random_images(2, *shape, channels[0])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        expected, actual = openai_network(x, p), network(x)
        expected_sum, actual_sum = (
            tf.reduce_sum(tf.sin(y)) for y in (expected, actual)
        )
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)
    one, other = (tape.gradient(y, [x, p]) for y in (expected_sum, actual_sum))
    for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-8, atol=1e-8)


@WIDTHS
@pytest.mark.usefixtures("device")
def test_gradients_have_gradients(width):
    network = GlowNetwork(2, 3, hidden_channels=width, dtype=tf.float64, seed=0)
    p = perturbed(network).parameters
    x = random_images(2, 4, 3, 2)
    found = []
    for function in (network, partial(openai_network, p=p)):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = tf.reduce_sum(tf.sin(function(x)))
            gradients = inner.gradient(value, [x, *p.values()])
            value = tf.add_n([tf.reduce_sum(g**2) for g in gradients])
        found.append(outer.gradient(value, x))
    np.testing.assert_allclose(*found, rtol=1e-8, atol=1e-8)


@WIDTHS
@pytest.mark.parametrize("device", ["Eigen", "oneDNN"], indirect=True)
@pytest.mark.usefixtures("device")
def test_sizes_may_be_unknown(width):
    network = GlowNetwork(2, 3, hidden_channels=width, dtype=tf.float64, seed=0)
    p = perturbed(network).parameters
    signature = [tf.TensorSpec([None, None, None, 2], tf.float64)]
    x = random_images(2, 4, 3, 2)
    actual = tf.function(network, input_signature=signature)(x)
    np.testing.assert_allclose(actual, openai_network(x, p), rtol=1e-10, atol=1e-12)


# Convolutions at both ends; a convolution, and a product with taps.
@pytest.mark.parametrize("channels_out", [40, 24])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_in_a_loop_xla_computes_the_gradients_of_openai_s(channels_out, dtype):
    """And lays out each convolution as Eigen's, for in a loop it does not do so."""
    network = GlowNetwork(12, channels_out, hidden_channels=64, dtype=dtype, seed=0)
    p = perturbed(network).parameters
    x = tf.cast(random_images(3, 4, 5, 12), dtype)

    def gradients(x, network):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.sin(network(x)))
        return tape.gradient(value, [x, p])

    @tf.function(jit_compile=True)
    def in_loop(x):
        def body(i, total):
            new = tf.nest.flatten(gradients(x, network))
            return i + 1, [old + value for old, value in zip(total, new, strict=True)]

        zeros = tf.nest.map_structure(tf.zeros_like, tf.nest.flatten([x, p]))
        _, total = tf.while_loop(lambda i, _: i < 2, body, (0, zeros))
        return total

    expected = tf.nest.flatten(gradients(x, partial(openai_network, p=p)))
    tolerance = 1e-4 if dtype == tf.float32 else 1e-10
    for a, b in zip(in_loop(x), expected, strict=True):
        scale = tolerance * np.abs(b).max()
        np.testing.assert_allclose(a, 2 * b, rtol=tolerance, atol=scale)

    hlo = in_loop.experimental_get_compiler_ir(x)(stage="optimized_hlo")
    layouts = re.findall(r" convolution\(.*dim_labels=(\S+?)[,\s]", hlo)
    assert len(layouts) == (6 if channels_out == 40 else 3)
    assert set(layouts) == {"b01f_01io->b01f"}


def graph_of(network, *shape, dtype="float32", **kwargs):
    x = tf.TensorSpec(shape, dtype)
    graph = tf.function(network, **kwargs).get_concrete_function(x).graph
    return [op.type for op in graph.get_operations()]


@pytest.mark.parametrize(
    ("processor", "channels", "width", "num_convolutions"),
    [
        ("oneDNN", (2, 3), 32, 2),
        ("oneDNN", (2, 3), 64, 1),  # the last layer is a product first
        ("oneDNN", (2, 3), 128, 0),
        ("oneDNN", (9, 3), 256, 1),  # the first layer of a wide network sees more
        ("oneDNN", (9, 3), 264, 0),
        ("oneDNN", (12, 3), 264, 1),
        ("oneDNN", (2, 12), 128, 1),
        ("oneDNN", (2, 12), 264, 0),
        ("oneDNN", (2, 13), 264, 1),
        ("Eigen", (2, 3), 64, 1),
        ("Eigen", (2, 3), 128, 0),
        ("Eigen", (12, 13), 264, 0),
        ("GPU", (2, 3), 264, 2),
    ],
)
def test_is_a_convolution_where_a_product_is_slower(
    processor, channels, width, num_convolutions, monkeypatch
):
    monkeypatch.setattr(convolution, "has_onednn", lambda: processor != "Eigen")
    monkeypatch.setattr(convolution, "_has_gpu", lambda: processor == "GPU")
    network = GlowNetwork(*channels, hidden_channels=width)
    found = graph_of(network, 1, 4, 4, channels[0])
    assert found.count("Conv2D") == num_convolutions


@pytest.mark.parametrize(
    ("dtype", "jit_compile", "num_convolutions"),
    [
        ("float32", False, 2),
        ("float64", False, 0),
        ("float32", True, 0),
        ("bfloat16", False, 1),  # its first layer is fast as a product
    ],
)
def test_onednn_has_neither_float64_nor_what_xla_compiles(
    dtype, jit_compile, num_convolutions, monkeypatch
):
    monkeypatch.setattr(convolution, "has_onednn", lambda: True)
    monkeypatch.setattr(convolution, "_has_gpu", lambda: False)
    network = GlowNetwork(12, 13, hidden_channels=264, dtype=tf.as_dtype(dtype))
    found = graph_of(network, 1, 4, 4, 12, jit_compile=jit_compile, dtype=dtype)
    assert found.count("Conv2D") == num_convolutions


def test_xla_is_given_slices_and_others_are_given_few_operations(monkeypatch):
    """XLA makes one loop of slices and pads, but is slow at depthwise convolutions."""
    monkeypatch.setattr(convolution, "has_onednn", lambda: False)
    monkeypatch.setattr(convolution, "_has_gpu", lambda: False)
    network = GlowNetwork(2, 3, hidden_channels=120)
    perturbed(network)
    for is_for_xla in (True, False):
        found = graph_of(network, 1, 4, 4, 2, jit_compile=is_for_xla)
        assert ("DepthwiseConv2dNative" in found) != is_for_xla
        assert ("Slice" in found) == is_for_xla
    x = tf.cast(random_images(2, 4, 3, 2), tf.float32)
    compiled = tf.function(network, jit_compile=True)(x)
    np.testing.assert_allclose(compiled, network(x), rtol=1e-4, atol=1e-4)


@WIDTHS
@pytest.mark.parametrize("device", ["Eigen", "oneDNN"], indirect=True)
@pytest.mark.usefixtures("device")
def test_vectorized_map_equals_a_batch(width):
    """What auto-batched joint distributions do, operation by operation if need be."""
    network = GlowNetwork(2, 3, hidden_channels=width, dtype=tf.float64, seed=0)
    perturbed(network)
    x = random_images(2, 4, 3, 2)
    found = tf.vectorized_map(lambda one: network(one[tf.newaxis])[0], x)
    np.testing.assert_allclose(found, network(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("context_shape", [None, [3], [4, 4, 3]])
@pytest.mark.parametrize("make", [EdgeConv, partial(GlowNetwork, hidden_channels=4)])
def test_no_image_gives_no_image(make, context_shape):
    # oneDNN, where TensorFlow uses it, would give it the channels that went in.
    network = make(2, 3, context_shape=context_shape)
    context = [tf.zeros([0, *context_shape])] if context_shape else []
    unknown = [
        tf.TensorSpec([None, *shape]) for shape in ([4, 4, 2], context_shape or [])
    ]
    traced = tf.function(network).get_concrete_function(*unknown[: 1 + len(context)])
    for function in (network, traced):
        assert function(tf.zeros([0, 4, 4, 2]), *context).shape == [0, 4, 4, 3]


@pytest.mark.parametrize("make", [EdgeConv, partial(GlowNetwork, hidden_channels=4)])
def test_starts_at_zero(make):
    network = make(2, 3)
    output = network(tf.ones([2, 4, 4, 2]))
    np.testing.assert_array_equal(output, tf.zeros([2, 4, 4, 3]))


@WIDTHS
def test_computes_in_another_type_and_answers_in_that_of_its_input(width):
    network = GlowNetwork(2, 3, hidden_channels=width, compute_dtype=tf.bfloat16)
    graph = tf.function(network).get_concrete_function(tf.TensorSpec([2, 4, 4, 2]))
    hidden_layers = [
        op.outputs[0].dtype
        for op in graph.graph.get_operations()
        if op.type in ("Conv2D", "MatMul")
        and op.outputs[0].shape.num_elements() == 2 * 4 * 4 * width
    ]
    assert hidden_layers == [tf.bfloat16] * 2
    assert graph.output_dtypes == tf.float32


def test_bfloat16_input_gives_bfloat16():
    network = GlowNetwork(2, 3, hidden_channels=4)
    assert network(tf.ones([1, 2, 2, 2], tf.bfloat16)).dtype == tf.bfloat16
    assert {v.dtype for v in network.trainable_variables} == {tf.float32}


def test_initial_kernels_have_standard_deviation_of_a_twentieth():
    p = GlowNetwork(8, 2, hidden_channels=32, seed=0).parameters
    for key in ("kernel_1", "kernel_2"):
        np.testing.assert_allclose(np.std(p[key]), 0.05, rtol=0.05)


def test_glow_network_standardises_its_hidden_layers():
    network = perturbed(GlowNetwork(2, 3, hidden_channels=5, dtype=tf.float64, seed=0))
    x = random_images(6, 4, 3, 2)
    found = network.standardize(x)[0]
    assert set(found) == {"shift_1", "raw_log_scale_1", "shift_2", "raw_log_scale_2"}
    p = network.parameters | found
    for i in (1, 2):
        x = openai_conv(x, p[f"kernel_{i}"], p[f"shift_{i}"], p[f"raw_log_scale_{i}"])
        np.testing.assert_allclose(tf.reduce_mean(x, [0, 1, 2]), np.zeros(5), atol=1e-9)
        variance = tf.math.reduce_variance(x, [0, 1, 2])
        np.testing.assert_allclose(variance, np.ones(5), rtol=1e-4)
        x = tf.nn.relu(x)


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_standardizing_parameters_divide_by_the_factor(factor):
    x = tf.constant([[-2.0], [6.0]])
    shift, raw_log_scale = standardizing_parameters(x, factor)
    np.testing.assert_allclose(shift, [-2])
    np.testing.assert_allclose(raw_log_scale, [-np.log(4) / factor], rtol=1e-5)


# --- Networks of a user ---


def dense(channels, **arguments):
    return keras.layers.Dense(channels, **arguments)


class Holder(tf.Module):
    """Keras layers in a list of a module."""

    def __init__(self):
        super().__init__()
        self.layers = [dense(3), {"last": dense(4)}]

    def __call__(self, x):
        return self.layers[1]["last"](self.layers[0](x))


class Plain:
    """Neither a module nor a layer."""

    def __init__(self):
        self.weight = tf.Variable(tf.ones([2, 4]))

    def apply(self, x, scale=1.0):
        return scale * tf.tensordot(x, self.weight, 1)


def apply_layer(layer, x):
    return layer(x)


@pytest.mark.parametrize(
    ("make", "num_variables"),
    [
        (lambda: dense(4), 2),
        (lambda: keras.Sequential([dense(3), dense(4)]), 4),
        (lambda: keras.Sequential([keras.Input([None, None, 2]), dense(4)]), 2),
        (Holder, 4),
        (lambda: Plain().apply, 1),
        (lambda: partial(Plain().apply, scale=2.0), 1),
        (lambda: partial(dense(4), training=False), 2),
        (lambda: partial(apply_layer, dense(4)), 2),
        (lambda: GlowNetwork(2, 4, hidden_channels=3), 10),
        (lambda: lambda x: tf.concat([x, x], axis=-1), 0),
    ],
    ids=[
        "layer",
        "sequential",
        "functional",
        "module_of_layers",
        "bound_method",
        "partial_of_method",
        "partial_of_layer",
        "partial_with_layer",
        "glow_network",
        "function",
    ],
)
def test_variables_of_a_user_s_network_are_found(make, num_variables):
    network = UserNetwork(make(), 2, 4)
    assert len(network.variables) == num_variables
    x = tf.ones([1, 3, 3, 2])
    with tf.GradientTape() as tape:
        assert network(x).shape == [1, 3, 3, 4]
    used = {id(v) for v in tape.watched_variables()}
    assert used == {id(v) for v in network.trainable_variables}


def test_user_s_network_is_built_on_the_given_size():
    network = keras.Sequential([keras.layers.Flatten(), dense(4 * 5 * 3)])
    network.add(keras.layers.Reshape([4, 5, 3]))
    made = UserNetwork(network, 2, 3, spatial_shape=(4, 5))
    assert made(tf.ones([1, 4, 5, 2])).shape == [1, 4, 5, 3]


def test_rejects_a_function_that_hides_variables():
    layer = dense(4)
    message = r"cannot be found.*Received: network=<function.*kernel.*not a function"
    with pytest.raises(ValueError, match=message):
        UserNetwork(lambda x: layer(x), 2, 4)


@pytest.mark.parametrize(
    "network", [lambda x: (x, x), lambda x: None, lambda x: np.asarray(x)]
)
def test_rejects_a_network_that_returns_no_tensor(network):
    message = "must return 2 channels: a tensor.*Received: .* <class"
    with pytest.raises(ValueError, match=message):
        UserNetwork(network, 2, 2)


@pytest.mark.parametrize(
    "make", [lambda: dense(4), lambda: keras.Sequential([dense(3), dense(4)])]
)
def test_a_deep_copy_has_variables_of_its_own(make):
    network = make()
    both = [UserNetwork(network, 2, 4), UserNetwork(network, 2, 4)]
    copies = deepcopy(both)
    x = tf.ones([1, 3, 3, 2])
    np.testing.assert_array_equal(copies[0](x), both[0](x))
    assert copies[0].network is copies[1].network
    for variable in copies[0].trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    assert np.all(copies[1](x) != both[0](x))
    with tf.GradientTape() as tape:
        y = copies[0](x)
    assert None not in tape.gradient(y, copies[0].trainable_variables)
    assert len(copies[0].keras_variables()) == len(both[0].keras_variables())


def test_a_deep_copy_leaves_the_checkpoints_of_the_original_alone(tmp_path):
    original = UserNetwork(dense(4), 2, 4)
    copied = deepcopy(original)
    values = [variable.numpy() for variable in original.variables]
    for variable in copied.variables:
        variable.assign_add(tf.ones_like(variable))
    path = tf.train.Checkpoint(network=original).save(tmp_path / "checkpoint")
    for variable in original.variables:
        variable.assign_add(tf.ones_like(variable))
    tf.train.Checkpoint(network=original).restore(path).assert_consumed()
    for variable, value in zip(original.variables, values, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_rejects_a_network_that_changes_height_or_width():
    pool = keras.layers.MaxPool2D()
    with pytest.raises(ValueError, match=r"\[2, 8, 8, 2\].*Received: .*\[2, 4, 4, 2\]"):
        UserNetwork(pool, 2, 2)


def test_rejects_what_cannot_be_called():
    with pytest.raises(TypeError, match=r"must be callable.*network=3\."):
        UserNetwork(3, 2, 4)
