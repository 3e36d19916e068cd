"""The simple models reach what they should."""

import numpy as np
import pytest

from tfp_glow import data
from tfp_glow.cli import baselines
from tfp_glow.cli.baselines import gaussian_bits_per_dim, histogram_bits_per_dim


@pytest.fixture(scope="module")
def digits():
    return [data.load_arrays("digits", split)[0] for split in ("train", "test")]


def test_gaussian_on_digits(digits):
    bits, note = gaussian_bits_per_dim(*digits, num_bits=4)
    assert bits == pytest.approx(2.93, abs=0.02)
    assert note == ""


def test_histogram_on_digits(digits, monkeypatch):
    bits = histogram_bits_per_dim(*digits, num_bits=4)
    assert bits == pytest.approx(2.32, abs=0.02)
    monkeypatch.setattr(baselines, "_MAX_VALUES", 7 * 64)  # seven images at a time
    assert histogram_bits_per_dim(*digits, num_bits=4) == pytest.approx(bits)


def test_both_on_independent_pixels_of_known_entropy():
    # Half of 8 bins, uniformly: 2 bits. A Gaussian cannot have the edges of the
    # density: log2(sqrt(2 pi e) / sqrt(12)) more.
    levels = np.random.default_rng(0).integers(0, 4, [4_000, 2, 2, 1])
    images = (32 * levels + 5).astype(np.uint8)  # low bits that do not count
    train, test = images[:3_000], images[3_000:]
    assert histogram_bits_per_dim(train, test, num_bits=3) == pytest.approx(2, abs=0.01)
    bits, _ = gaussian_bits_per_dim(train, test, num_bits=3)
    excess = 0.5 * np.log2(2 * np.pi * np.e / 12)
    assert bits == pytest.approx(2 + excess, abs=0.02)


def test_gaussian_sees_what_pixels_have_in_common():
    levels = np.random.default_rng(0).integers(0, 256, [2_000, 1, 1, 1])
    images = np.broadcast_to(levels, [2_000, 2, 2, 1]).astype(np.uint8)
    bits, _ = gaussian_bits_per_dim(images[:1_000], images[1_000:], num_bits=8)
    assert bits < 4 < histogram_bits_per_dim(images[:1_000], images[1_000:], num_bits=8)


def test_unseen_value_has_a_probability():
    train = np.zeros([9, 1, 1, 1], np.uint8)
    test = np.full([1, 1, 1, 1], 255, np.uint8)
    bits = histogram_bits_per_dim(train, test, num_bits=1)
    assert bits == pytest.approx(-np.log2(0.1 / 9.2))


@pytest.mark.parametrize(
    ("shape", "note"),
    [([1, 40, 40, 3], "4,096 at most"), ([16, 4, 4, 1], "16 training images")],
)
def test_gaussian_is_left_out(shape, note):
    images = np.zeros(shape, np.uint8)
    bits, received = gaussian_bits_per_dim(images, images, num_bits=8)
    assert bits is None
    assert note in received
