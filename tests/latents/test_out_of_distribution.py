"""Scores of strange images, and the area under their curve."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny_models import perturbed

from tfp_glow import GlowModel
from tfp_glow.latents import compressed_bits_per_dim, out_of_distribution_scores, roc


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(5).integers(0, 256, [2, 32, 32, 3], np.uint8)


def test_scores_are_what_they_say(model, images):
    bits = model.bits_per_dim(images[:6], seed=3, num_noise_samples=2).numpy()
    usual = np.median(bits)
    found = out_of_distribution_scores(
        model, images[:6], typical_bits=usual, seed=3, num_noise_samples=2, batch_size=6
    )
    np.testing.assert_allclose(found["likelihood"], bits, rtol=1e-6)
    np.testing.assert_allclose(found["typicality"], abs(bits - usual), atol=1e-5)
    complexity = bits - compressed_bits_per_dim(images[:6])
    np.testing.assert_allclose(found["complexity"], complexity, atol=1e-5)


def test_batches_and_labels(conditional, images):
    labels = np.arange(24) % 3
    arguments = {"typical_bits": 0.0, "seed": 3, "num_noise_samples": 2}
    found = out_of_distribution_scores(
        conditional, images, labels=labels, batch_size=16, **arguments
    )["likelihood"]
    first, second = (
        conditional.bits_per_dim(
            images[part], labels[part], seed=[3, start], num_noise_samples=2
        )
        # The draws of the second batch are those after the first's.
        for part, start in ((slice(16), 0), (slice(16, 24), 32))
    )
    np.testing.assert_allclose(found, [*first, *second], rtol=1e-5)


def test_compressed_size_is_that_of_the_smallest_file(images, noise):
    for some in (images[:3], noise):
        sizes = []
        for image in some:
            picture, files = (
                Image.fromarray(image.squeeze()),
                [io.BytesIO() for _ in "ab"],
            )
            picture.save(files[0], "PNG", optimize=True)
            picture.save(files[1], "JPEG2000", irreversible=False, no_jp2=True)
            sizes.append([file.getbuffer().nbytes for file in files])
        bits = 8 * np.array(sizes) / image.size
        np.testing.assert_array_equal(compressed_bits_per_dim(some), bits.min(axis=1))
        for i, name in enumerate(["png", "jpeg2000"]):
            found = compressed_bits_per_dim(some, formats=[name])
            np.testing.assert_array_equal(found, bits[:, i])


def test_compressed_size_is_lossless_and_tells_simple_from_complex(noise):
    # Nobody can store noise in less than 8 bits; a plain image takes next to nothing.
    plain = np.full_like(noise, 77)
    for name in ("png", "jpeg2000"):
        assert compressed_bits_per_dim(noise, formats=[name]).min() > 8
        assert compressed_bits_per_dim(plain, formats=[name]).max() < 0.5
    zipped = 8 * len(zlib.compress(noise[0].tobytes(), 9)) / noise[0].size
    assert compressed_bits_per_dim(noise)[0] == pytest.approx(zipped, rel=0.1)


def test_compressed_size_of_fewer_bits(noise):
    found = compressed_bits_per_dim(noise, 3)
    expected = compressed_bits_per_dim(noise & 0b11100000)
    np.testing.assert_array_equal(found, expected)
    assert found.max() < 5


def test_scores_of_a_model_of_fewer_bits(images):
    model = perturbed(num_bits=3, num_levels=1)
    found = out_of_distribution_scores(model, images[:4], typical_bits=0.0)
    difference = found["likelihood"] - found["complexity"]
    expected = compressed_bits_per_dim(images[:4], 3)
    np.testing.assert_allclose(difference, expected, rtol=1e-5)


def test_area_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(6)
    inside, outside = rng.integers(0, 9, 40) / 2, rng.integers(3, 12, 30) / 2
    found = roc(inside, outside)
    pairs = outside[:, np.newaxis] - inside
    share = np.mean(pairs > 0) + np.mean(pairs == 0) / 2
    assert found.area == pytest.approx(share, abs=1e-12)
    labels = np.repeat([0, 1], [40, 30])
    expected = roc_auc_score(labels, np.concatenate([inside, outside]))
    assert found.area == pytest.approx(expected, abs=1e-12)
    assert roc(outside, inside).area == pytest.approx(1 - share, abs=1e-12)


def test_curve_of_four_scores():
    found = roc(np.array([1.0, 3.0]), np.array([2.0, 4.0]))
    np.testing.assert_array_equal(found.false_positive_rate, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_array_equal(found.true_positive_rate, [0, 0.5, 0.5, 1, 1])
    assert found.area == 0.75


def test_an_infinite_score_is_above_all_others():
    found = roc(np.array([1.0, 3.0]), np.array([2.0, np.inf]))
    assert found.area == 0.75
    assert roc(np.array([1.0, np.inf]), np.array([2.0, np.inf])).area == 0.625


def test_channels_that_cannot_be_compressed_are_told_at_once():
    model = GlowModel([8, 8, 2], num_levels=2, num_steps=1, hidden_channels=8)
    with pytest.raises(ValueError, match=r"`model.event_shape\[-1\]` must be one of"):
        out_of_distribution_scores(model, None, typical_bits=2.0)


def test_what_cannot_be_is_told(noise):
    with pytest.raises(ValueError, match="Received: 1 that are NaN, of 4"):
        roc(np.array([1.0, np.nan]), np.ones(2))
    with pytest.raises(ValueError, match="Received: 2 inside, 0 outside"):
        roc(np.ones(2), np.ones(0))
    with pytest.raises(ValueError, match="Did you mean 'png'"):
        compressed_bits_per_dim(noise, formats=["pngs"])
    with pytest.raises(ValueError, match=r"Received: shape=\(2, 32, 32, 2\)"):
        compressed_bits_per_dim(noise[..., :2])
    with pytest.raises(TypeError, match="uint8"):
        compressed_bits_per_dim(noise.astype(np.float32))
