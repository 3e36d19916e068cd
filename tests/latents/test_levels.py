"""Latents level by level."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import truncnorm
from tiny_models import SIZES

from tfp_glow.latents import resample_levels, sample_latents, split_levels


def test_split_levels_are_those_of_the_chain(model, images):
    z = model.encode(images[:5])
    levels = split_levels(model, z)
    assert [level.shape for level in levels] == [(5, size) for size in SIZES]
    np.testing.assert_array_equal(tf.concat(levels, axis=-1), z)
    # What the last level puts out comes of the last part alone.
    moved = tf.concat([levels[0] + 1, levels[1] + 1, levels[2]], axis=-1)
    top = model.glow.last_level_output
    np.testing.assert_array_equal(top(moved), top(z))
    moved = tf.concat([levels[0], levels[1], levels[2] + 1], axis=-1)
    assert np.abs(top(moved) - top(z)).min() > 0


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_latents_of_other_types_are_decoded(model, images, dtype):
    z = tf.cast(model.encode(images[:2]), dtype)
    np.testing.assert_array_equal(model.decode(z), model.decode(tf.cast(z, tf.float32)))
    assert resample_levels(model, z, [0], seed=4).shape == z.shape


def test_samples_are_those_of_the_model(model):
    z = sample_latents(model, 6, temperature=0.7, seed=3)
    expected = model.sample(6, temperature=0.7, seed=3)
    np.testing.assert_array_equal(model.decode(z), expected)


def test_temperature_of_each_level(model):
    noise = sample_latents(model, 4, seed=3)
    z = sample_latents(model, 4, temperature=[0.5, 0.0, 2.0], seed=3)
    scales = np.repeat([0.5, 0.0, 2.0], SIZES)
    np.testing.assert_array_equal(z, noise * scales)
    assert (sample_latents(model, 4) != sample_latents(model, 4)).numpy().any()


def test_truncation_draws_again(model):
    z = sample_latents(model, 400, temperature=0.5, truncation=1.2, seed=0)
    z = np.ravel(z) / 0.5
    assert np.abs(z).max() <= 1.2
    # Cut off instead of drawn again, a quarter of them would stand at the bounds.
    assert np.mean(np.abs(z) > 1.19) < 0.02
    assert z.std() == pytest.approx(truncnorm(-1.2, 1.2).std(), abs=0.01)
    assert abs(z.mean()) < 0.02
    again = sample_latents(model, 400, temperature=0.5, truncation=1.2, seed=0)
    np.testing.assert_array_equal(np.ravel(again) / 0.5, z)


def test_of_no_latents_there_are_none(model):
    none = tf.zeros([0, sum(SIZES)])
    assert resample_levels(model, none, [0]).shape == none.shape


def test_resample_draws_some_levels_and_keeps_the_others(model, images):
    z = model.encode(images[:5])
    new = resample_levels(model, z, [0, 1], temperature=[0.3, 1.0, 1.0], seed=4)
    np.testing.assert_array_equal(new[:, 48:], z[:, 48:])
    expected = sample_latents(model, 5, temperature=[0.3, 1.0, 1.0], seed=4)
    np.testing.assert_array_equal(new[:, :48], expected[:, :48])
    coarse = resample_levels(model, z, [-1], seed=4, truncation=0.1)
    np.testing.assert_array_equal(coarse[:, :48], z[:, :48])
    assert np.abs(coarse[:, 48:]).max() <= 0.1


def test_what_cannot_be_is_told(model):
    z = tf.zeros([2, 64])
    with pytest.raises(ValueError, match=r"has 3 levels.*Received: levels=\[0, 3\]"):
        resample_levels(model, z, [0, 3])
    with pytest.raises(ValueError, match="has 3 levels"):
        resample_levels(model, z, [-4])
    with pytest.raises(ValueError, match="one number, or 3, one a level"):
        sample_latents(model, 2, temperature=[1.0, 1.0])
    with pytest.raises(ValueError, match="`truncation` must be a positive"):
        sample_latents(model, 2, truncation=0)
    with pytest.raises(ValueError, match="`temperature` must be"):
        sample_latents(model, 2, temperature=-1.0)
