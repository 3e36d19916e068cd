import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow._inputs import check_condition
from tfp_glow.dequantization import (
    as_seed,
    bin_centers,
    discrete_log_prob,
    uniform_noise,
)

BYTES = tf.reshape(tf.range(256), [1, 16, 16, 1])
BYTES = tf.cast(BYTES, tf.uint8)
LARGEST_NOISE = 1 - 2.0**-16

each_num_bits = pytest.mark.parametrize("num_bits", range(1, 9))
each_dtype = pytest.mark.parametrize("dtype", [tf.float32, tf.float64])


def kept(num_bits):
    """The bytes with their low bits cleared."""
    return BYTES.numpy() & (256 - 2 ** (8 - num_bits))


def bin_edges(num_bits):
    """Both edges of each byte's bin, in float64."""
    num_bins = 2**num_bits
    bins = BYTES.numpy().astype(int) // (256 // num_bins)
    return bins / num_bins - 0.5, (bins + 1) / num_bins - 0.5


@each_num_bits
def test_every_byte_comes_back_for_every_seed(num_bits):
    images = tf.tile(BYTES, [200, 1, 1, 1])
    for seed in range(10):
        x = tfg.dequantize(images, num_bits, seed)
        expected = np.broadcast_to(kept(num_bits), images.shape)
        np.testing.assert_array_equal(tfg.quantize(x, num_bits), expected)


@each_dtype
@each_num_bits
@pytest.mark.parametrize("noise", [0.0, 2.0**-16, 0.5, LARGEST_NOISE])
def test_values_stay_inside_their_bins(num_bits, noise, dtype):
    noise = tf.fill([16, 16, 1], tf.cast(noise, dtype))
    x = tfg.dequantize(BYTES, num_bits, noise=noise, dtype=dtype)
    assert x.dtype == dtype
    low, high = bin_edges(num_bits)
    assert np.all(low <= x)
    assert np.all(x < high)
    assert -0.5 <= np.min(x)
    assert np.max(x) < 0.5
    np.testing.assert_array_equal(tfg.quantize(x, num_bits), kept(num_bits))


@each_dtype
@each_num_bits
def test_bin_centers_are_half_way(num_bits, dtype):
    low, high = bin_edges(num_bits)
    centers = bin_centers(BYTES, num_bits, dtype=dtype)
    np.testing.assert_array_equal(centers, (low + high) / 2)


@each_dtype
def test_noise_is_uniform_in_steps_that_float32_adds_exactly(dtype):
    noise = uniform_noise([100_000], 5, dtype).numpy()
    assert noise.dtype == dtype
    steps = noise * 2**16
    np.testing.assert_array_equal(steps, np.floor(steps))
    assert noise.min() >= 0
    assert noise.max() <= LARGEST_NOISE
    assert len(np.unique(noise)) > 40_000
    np.testing.assert_allclose(noise.mean(dtype="float64"), 0.5, atol=0.004)
    np.testing.assert_allclose(noise.var(dtype="float64"), 1 / 12, atol=0.001)


@each_dtype
def test_same_seed_gives_the_same_noise_eager_traced_and_compiled(dtype):
    images = tf.tile(BYTES, [3, 1, 1, 1])

    def noisy(images, seed):
        return tfg.dequantize(images, seed=seed, dtype=dtype)

    for seed in tf.constant([[3, 4], [-1, 3], [3, -(2**31)]]):
        eager = noisy(images, seed)
        for jit_compile in (False, True):
            traced = tf.function(noisy, jit_compile=jit_compile)
            np.testing.assert_array_equal(traced(images, seed), eager)
    eager = noisy(images, tf.constant([3, 4]))
    np.testing.assert_array_equal(noisy(images, [3, 4]), eager)
    assert np.mean(noisy(images, [4, 3]) != eager) > 0.9


@pytest.mark.parametrize("wrap", [int, np.int64, tf.constant])
def test_an_integer_is_a_seed(wrap):
    first, second = (uniform_noise([100], wrap(seed), tf.float32) for seed in (1, 2))
    np.testing.assert_array_equal(first, uniform_noise([100], [1, 0], tf.float32))
    assert np.any(first != second)


def test_images_of_a_batch_get_noise_of_their_own():
    x = tfg.dequantize(tf.zeros([2, 16, 16, 1], tf.uint8), seed=0)
    assert np.mean(x[0] != x[1]) > 0.9


@pytest.mark.parametrize("traced", [False, True])
def test_without_a_seed_the_noise_is_new_each_time(traced):
    function = tf.function(tfg.dequantize) if traced else tfg.dequantize
    assert np.mean(function(BYTES) != function(BYTES)) > 0.9


def test_given_noise_may_be_the_same_for_all_images():
    noise = uniform_noise([16, 16, 1], 0, tf.float32)
    x = tfg.dequantize(tf.tile(BYTES, [2, 1, 1, 1]), noise=noise)
    np.testing.assert_array_equal(x[0], x[1])
    np.testing.assert_array_equal(x[0], (BYTES.numpy()[0] + noise) / 256 - 0.5)


@each_num_bits
def test_quantize_clips(num_bits):
    top = 256 - 2 ** (8 - num_bits)
    x = tf.constant([-np.inf, -7.0, -0.5, 0.5, 7.0, 1e30, np.inf])
    expected = [0, 0, 0, top, top, top, top]
    assert tfg.quantize(x, num_bits).numpy().tolist() == expected


@pytest.mark.parametrize("jit_compile", [False, True])
def test_quantize_makes_0_of_what_is_no_number(jit_compile):
    quantize = tf.function(tfg.quantize, jit_compile=jit_compile)
    assert quantize(tf.constant([np.nan, 0.0])).numpy().tolist() == [0, 128]


@each_num_bits
def test_uniform_density_takes_num_bits_a_dimension(num_bits):
    log_prob = tf.zeros([3], tf.float64)  # nats, of the density 1 on [-0.5, 0.5)
    bits = tfg.bits_per_dim(log_prob, [32, 32, 3], num_bits)
    np.testing.assert_allclose(bits, np.full(3, num_bits))


def test_bits_per_dim_counts_nats_and_dimensions():
    log_prob = tf.constant([48 * np.log(2), -96 * np.log(2)], tf.float64)
    np.testing.assert_allclose(tfg.bits_per_dim(log_prob, [4, 4, 3], 5), [4, 7])


@each_num_bits
def test_discrete_log_prob_is_the_density_times_the_volume_of_a_bin(num_bits):
    actual = discrete_log_prob(tf.constant(-5.0, tf.float64), [2, 3, 1], num_bits)
    np.testing.assert_allclose(actual, -5 + 6 * np.log(1 / 2**num_bits))


@pytest.mark.parametrize("function", [tfg.dequantize, bin_centers])
@pytest.mark.parametrize("dtype", [tf.int32, tf.float32])
def test_rejects_images_that_are_no_bytes(function, dtype):
    with pytest.raises(TypeError, match=rf"`uint8`.*Received: dtype={dtype.name}\."):
        function(tf.zeros([1, 2, 2, 1], dtype))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, "float16", tf.int32])
def test_rejects_types_that_hold_no_bin_with_its_noise(dtype):
    message = rf"float32 or float64.*Received: dtype={tf.as_dtype(dtype).name}\..*cast"
    for make in (
        lambda: tfg.dequantize(BYTES, seed=0, dtype=dtype),
        lambda: tfg.dequantize(BYTES, noise=0.5, dtype=dtype),
        lambda: bin_centers(BYTES, dtype=dtype),
        lambda: uniform_noise([3], 0, dtype),
    ):
        with pytest.raises(TypeError, match=message):
            make()


def test_images_are_a_context_of_a_flow_of_16_bits():
    glow = tfg.Glow(
        [16, 16, 1],
        num_levels=1,
        num_steps=1,
        hidden_channels=4,
        context_shape=[16, 16, 1],
        dtype=tf.bfloat16,
    )
    condition = check_condition(glow, None, BYTES, tf.zeros([1, 16, 16, 1]))
    expected = tf.cast(bin_centers(BYTES), tf.bfloat16)
    assert condition["context"].dtype == tf.bfloat16
    np.testing.assert_array_equal(condition["context"], expected)


@pytest.mark.parametrize("seed", [1.5, True, [1, 2, 3], [[1, 2]]])
def test_rejects_seeds_that_are_neither_one_integer_nor_two(seed):
    with pytest.raises(ValueError, match=r"`seed` must be.*Received: seed="):
        as_seed(seed)


@pytest.mark.parametrize("num_bits", [0, 9, 2.5, None])
def test_rejects_num_bits_that_a_byte_does_not_have(num_bits):
    images, x = BYTES, tf.zeros([1, 2, 2, 1])
    for function, argument in ((tfg.dequantize, images), (tfg.quantize, x)):
        with pytest.raises(ValueError, match=rf"`num_bits`.*num_bits={num_bits}\."):
            function(argument, num_bits)
    with pytest.raises(ValueError, match=rf"`num_bits`.*num_bits={num_bits}\."):
        tfg.bits_per_dim(tf.zeros([1]), [2, 2, 1], num_bits)
