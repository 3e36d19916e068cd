"""What simple models reach: a flow that does not beat them has learned nothing."""

from collections.abc import Iterator
from math import log, pi, prod

import numpy as np
import tensorflow as tf

from tfp_glow.dequantization import bits_per_dim, dequantize

__all__ = ["MAX_TRAINING_IMAGES", "gaussian_bits_per_dim", "histogram_bits_per_dim"]

MAX_TRAINING_IMAGES = 20_000
"""More images would hardly change what these models learn."""

_MAX_DIMS = 4096  # of a covariance matrix
_CHUNK_SIZE = 1_000
_MAX_VALUES = 10_000_000
_SMOOTHING = 0.1


def gaussian_bits_per_dim(
    train: np.ndarray, test: np.ndarray, num_bits: int
) -> tuple[float | None, str]:
    """Bits/dim of a Gaussian with full covariance, fitted to dequantised images.

    Args:
        train: Images to fit it to, `uint8` `[N, H, W, C]`.
        test: Images to measure it on, `uint8` `[M, H, W, C]`.
        num_bits: How many of the 8 bits are modelled.

    Returns:
        Bits/dim, with one draw of noise, and a note. Where it cannot be fitted, None,
        and the note says why.
    """
    event_shape = train.shape[1:]
    num_dims = prod(event_shape)
    if num_dims > _MAX_DIMS:
        return None, f"skipped: {num_dims:,} numbers in an image, {_MAX_DIMS:,} at most"
    if len(train) <= num_dims:
        return None, f"skipped: {num_dims:,} dimensions, {len(train):,} training images"
    # A moment at a time: all images as float64 would be half a gigabyte at 32x32x3.
    mean, second_moment = np.zeros(num_dims), np.zeros([num_dims, num_dims])
    for x in _continuous(train, num_bits, seed=0):
        mean += x.sum(axis=0) / len(train)
        second_moment += x.T @ x / len(train)
    # The ridge, far below the variance of the noise, guards against rounding.
    ridge = 1e-3 * 4.0**-num_bits / 12
    covariance = second_moment - np.outer(mean, mean) + ridge * np.eye(num_dims)
    cholesky = np.linalg.cholesky(covariance)
    log_det = 2 * np.log(np.diag(cholesky)).sum()
    log_probs = []
    for x in _continuous(test, num_bits, seed=1):
        z = tf.linalg.triangular_solve(cholesky, (x - mean).T).numpy()  # [D, B]
        squares = np.square(z).sum(axis=0)
        log_probs.append(-0.5 * (squares + log_det + num_dims * log(2 * pi)))
    bits = bits_per_dim(tf.constant(np.concatenate(log_probs)), event_shape, num_bits)
    return float(np.mean(bits)), ""


def histogram_bits_per_dim(train: np.ndarray, test: np.ndarray, num_bits: int) -> float:
    """Bits/dim of independent pixels, each with a smoothed histogram of its values.

    Args:
        train: Images to count, `uint8` `[N, H, W, C]`.
        test: Images to measure it on, `uint8` `[M, H, W, C]`.
        num_bits: How many of the 8 bits are modelled.

    Returns:
        Bits/dim.
    """
    num_bins = 2**num_bits
    train, test = (
        (images >> (8 - num_bits)).reshape(len(images), -1) for images in (train, test)
    )
    counts = np.stack([np.bincount(pixel, minlength=num_bins) for pixel in train.T])
    total = len(train) + _SMOOTHING * num_bins
    log_probs = np.log2((counts + _SMOOTHING) / total)  # [D, bins]
    # A few at a time: their probabilities take eight times as much as the images.
    size = max(1, _MAX_VALUES // len(log_probs))
    chunks = [test[start : start + size] for start in range(0, len(test), size)]
    pixel = np.arange(len(log_probs))
    return -sum(log_probs[pixel, chunk].sum() for chunk in chunks) / test.size


def _continuous(
    images: np.ndarray, num_bits: int, *, seed: int
) -> Iterator[np.ndarray]:
    """Dequantised images, flat, some at a time: float64 `[B, D]`."""
    for start in range(0, len(images), _CHUNK_SIZE):
        chunk = images[start : start + _CHUNK_SIZE]
        x = dequantize(chunk, num_bits, [seed, start], dtype=tf.float64)
        yield x.numpy().reshape(len(chunk), -1)
