"""Images to continuous numbers and back: the only place that knows bins and offsets.

An image's bytes keep their top `num_bits` bits and become bins `[k, k + 1) / n - 0.5`
with `n = 2 ** num_bits`. The density over continuous images that a flow gives, times a
bin's volume `n ** -(H W C)`, bounds the probability of the discrete image from below.
"""

from collections.abc import Sequence
from math import log, prod

import tensorflow as tf

from tfp_glow._checks import check_positive_integer

__all__ = [
    "NATS_PER_BIT",
    "PHILOX",
    "as_seed",
    "bin_centers",
    "bits_per_dim",
    "check_num_bits",
    "counter_of_image",
    "dequantize",
    "discrete_log_prob",
    "quantize",
    "to_bits_per_dim",
    "uniform_noise",
]

Seed = int | Sequence[int] | tf.Tensor

# Bits of the noise: with up to 8 of the bin's they fill float32's 24, so that every
# sum of bin and noise is exact and none is rounded up into the next bin.
_NOISE_BITS = 16

NATS_PER_BIT = log(2.0)

PHILOX = 1  # as TensorFlow's raw operations number it


def dequantize(
    images: tf.Tensor,
    num_bits: int = 8,
    seed: Seed | None = None,
    *,
    noise: tf.Tensor | None = None,
    first_image: int | tf.Tensor = 0,
    dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """Adds uniform noise to the bins of discrete images.

    Args:
        images: `uint8`, `[..., H, W, C]`.
        num_bits: How many of the 8 bits are kept, the highest ones.
        seed: An integer, or two as TensorFlow's stateless functions take them. The
            same seed gives the same noise, on every device. New noise each time when
            not given.
        noise: Noise to take instead, in `[0, 1)`, one bin wide; it may be the same for
            all images.
        first_image: Number of the first image in a larger batch, of which the others
            are elsewhere: together they get the noise that the whole batch would get.
            Needs images whose `H W C` is divisible by 4.
        dtype: Type of the result, float32 or float64.

    Returns:
        Continuous images in `[-0.5, 0.5)`, `[..., H, W, C]`.

    Raises:
        TypeError: If `images` is not `uint8`, or `dtype` neither float32 nor float64.
        ValueError: If `num_bits` is not an integer from 1 to 8.

    Example:
        >>> images = tf.constant([[[[0], [128], [255]]]], tf.uint8)
        >>> x = dequantize(images, seed=0)
        >>> quantize(x).numpy().ravel().tolist()
        [0, 128, 255]

    References:
        Theis et al. A note on the evaluation of generative models. 2016. Section 3.1.
        https://arxiv.org/abs/1511.01844
    """
    bins = _bins(images, num_bits, dtype)
    if noise is None:
        noise = uniform_noise(tf.shape(bins), seed, dtype, first_image=first_image)
    return _from_bins(bins + noise, num_bits)


def bin_centers(
    images: tf.Tensor, num_bits: int = 8, *, dtype: tf.DType = tf.float32
) -> tf.Tensor:
    """Continuous images in the middle of their bins: `dequantize` without noise.

    Args:
        images: `uint8`, `[..., H, W, C]`.
        num_bits: How many of the 8 bits are kept, the highest ones.
        dtype: Type of the result, float32 or float64.

    Returns:
        Continuous images in `(-0.5, 0.5)`, `[..., H, W, C]`.

    Raises:
        TypeError: If `images` is not `uint8`, or `dtype` neither float32 nor float64.
        ValueError: If `num_bits` is not an integer from 1 to 8.

    Example:
        >>> bin_centers(tf.constant([0, 255], tf.uint8), num_bits=1).numpy().tolist()
        [-0.25, 0.25]
    """
    return _from_bins(_bins(images, num_bits, dtype) + 0.5, num_bits)


def quantize(x: tf.Tensor, num_bits: int = 8) -> tf.Tensor:
    """The discrete images whose bins hold continuous ones.

    Args:
        x: Continuous images, `[..., H, W, C]`; what lies outside `[-0.5, 0.5)` goes to
            the nearest bin.
        num_bits: As it was for `dequantize`.

    Returns:
        `uint8`, `[..., H, W, C]`, with the low `8 - num_bits` bits zero.

    Raises:
        ValueError: If `num_bits` is not an integer from 1 to 8.

    Example:
        >>> quantize(tf.constant([-0.6, -0.3, 0.0, 0.7]), num_bits=2).numpy().tolist()
        [0, 0, 128, 192]
    """
    check_num_bits(num_bits)
    num_bins = 2**num_bits
    bins = tf.floor((x + 0.5) * num_bins)
    # Where x is not a number the comparison is false, and the bin 0.
    bins = tf.minimum(tf.where(bins >= 0, bins, tf.zeros_like(bins)), num_bins - 1)
    return tf.cast(bins, tf.uint8) * tf.constant(2 ** (8 - num_bits), tf.uint8)


def discrete_log_prob(
    log_prob: tf.Tensor, event_shape: Sequence[int], num_bits: int = 8
) -> tf.Tensor:
    """Log-probability of discrete images, from that of their dequantised versions.

    Args:
        log_prob: Log-density of continuous images, in nats, `[...]`.
        event_shape: Shape of an image, `[H, W, C]`.
        num_bits: As it was for `dequantize`.

    Returns:
        A lower bound of `log p(image)`, in nats, `[...]`.

    Example:
        >>> discrete_log_prob(tf.constant([0.0]), [1, 1, 1], num_bits=1).numpy()
        array([-0.6931472], dtype=float32)
    """
    check_num_bits(num_bits)
    return log_prob - prod(event_shape) * num_bits * NATS_PER_BIT


def bits_per_dim(
    log_prob: tf.Tensor, event_shape: Sequence[int], num_bits: int = 8
) -> tf.Tensor:
    """Bits/dim of discrete images: `-log2 p(image) / (H W C)`.

    Args:
        log_prob: Log-density of continuous images, in nats, `[...]`: what
            `distribution.log_prob(dequantize(images, num_bits))` gives.
        event_shape: Shape of an image, `[H, W, C]`.
        num_bits: As it was for `dequantize`.

    Returns:
        Bits for each number in an image, `[...]`; `num_bits` for a uniform density.

    Example:
        >>> bits_per_dim(tf.constant([0.0]), [32, 32, 3]).numpy()
        array([8.], dtype=float32)

    References:
        Kingma and Dhariwal. Glow. 2018. Section 2, equation 2.
    """
    return to_bits_per_dim(
        discrete_log_prob(log_prob, event_shape, num_bits), event_shape
    )


def to_bits_per_dim(
    discrete_log_prob: tf.Tensor, event_shape: Sequence[int]
) -> tf.Tensor:
    """Log-probability of discrete images, in nats, as bits/dim.

    Args:
        discrete_log_prob: What `discrete_log_prob` returns, `[...]`.
        event_shape: Shape of an image, `[H, W, C]`.

    Returns:
        Bits for each number in an image, `[...]`.
    """
    return -discrete_log_prob / (prod(event_shape) * NATS_PER_BIT)


def check_num_bits(num_bits: int) -> None:
    """Raises `ValueError` unless `num_bits` is an integer from 1 to 8."""
    check_positive_integer("num_bits", num_bits)
    if num_bits > 8:
        raise ValueError(
            "`num_bits` must be from 1 to 8: images are bytes. "
            f"Received: num_bits={num_bits}."
        )


def uniform_noise(
    shape: Sequence[int] | tf.Tensor,
    seed: Seed | None,
    dtype: tf.DType,
    *,
    first_image: int | tf.Tensor = 0,
) -> tf.Tensor:
    """Noise from U[0, 1), the same on every device for the same seed.

    Floats made by TensorFlow's own kernels and by XLA differ; the bits do not.

    Args:
        shape: Shape of the noise.
        seed: An integer, two integers, or None for new noise.
        dtype: Type of the noise, float32 or float64.
        first_image: See `dequantize`.

    Raises:
        TypeError: If `dtype` is neither float32 nor float64.
        ValueError: If `seed` is none of these.
    """
    _check_precision(dtype)
    key, counter = counter_of_image(first_image, shape, seed, tf.uint32)
    bits = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=shape, key=key, counter=counter, alg=PHILOX, dtype=tf.uint32
    )
    bits = tf.bitwise.right_shift(bits, tf.constant(32 - _NOISE_BITS, tf.uint32))
    return tf.cast(bits, dtype) * 2.0**-_NOISE_BITS


def counter_of_image(
    first_image: int | tf.Tensor,
    shape: Sequence[int] | tf.Tensor,
    seed: Seed | None,
    dtype: tf.DType,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in a stream of random numbers those of an image begin.

    Args:
        first_image: Number of the image.
        shape: Of the images, `[..., H, W, C]`.
        seed: An integer, two integers, or None for new numbers.
        dtype: Type of the random numbers.

    Returns:
        Key and counter, as TensorFlow's raw random operations take them.
    """
    key, counter = tf.raw_ops.StatelessRandomGetKeyCounter(seed=as_seed(seed))
    # Philox gives 128 bits a count.
    num_counts = tf.reduce_prod(shape[-3:]) // (16 // dtype.size)
    skipped = tf.cast(first_image, tf.uint64) * tf.cast(num_counts, tf.uint64)
    return key, tf.stack([counter[0] + skipped, counter[1]])


def as_seed(seed: Seed | None) -> tf.Tensor:
    """Two integers, as TensorFlow's stateless functions take them.

    Args:
        seed: An integer, two integers, or None for a new seed each time.

    Raises:
        ValueError: If it is anything else.
    """
    if seed is None:
        return tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    received, seed = seed, tf.convert_to_tensor(seed)
    has_shape = any(seed.shape.is_compatible_with(shape) for shape in ([], [2]))
    if not seed.dtype.is_integer or not has_shape:
        raise ValueError(
            "`seed` must be an integer, two integers or None. Received: "
            f"seed={received!r}."
        )
    # Of negative ones XLA makes other random numbers than TensorFlow.
    seed = tf.bitwise.bitwise_and(tf.cast(seed, tf.int32), 2**31 - 1)
    return seed if seed.shape.rank == 1 else tf.stack([seed, 0])


def _check_precision(dtype: tf.DType) -> None:
    """Raises unless a type holds 8 bits of a bin and 16 of noise."""
    dtype = tf.as_dtype(dtype)
    if dtype not in (tf.float32, tf.float64):
        raise TypeError(
            "`dtype` must be float32 or float64: bins and their noise fill 24 bits. "
            f"Received: dtype={dtype.name}. Dequantise in float32 and cast the result, "
            'or let a `GlowModel` of `dtype="mixed_bfloat16"` compute its networks in '
            "16 bits."
        )


def _bins(images: tf.Tensor, num_bits: int, dtype: tf.DType) -> tf.Tensor:
    check_num_bits(num_bits)
    _check_precision(dtype)
    images = tf.convert_to_tensor(images)
    if images.dtype != tf.uint8:
        raise TypeError(
            "Images must be `uint8`, from 0 to 255. Received: "
            f"dtype={images.dtype.name}. Convert them, for instance by "
            "`(255 * images).round().astype('uint8')` where they lie in [0, 1]."
        )
    return tf.cast(images // 2 ** (8 - num_bits), dtype)


def _from_bins(positions: tf.Tensor, num_bits: int) -> tf.Tensor:
    return positions / 2**num_bits - 0.5
