"""Classes of images, from their latents or from their likelihoods."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tfp_glow.latents import class_log_likelihoods, linear_probe

LABELS = np.arange(24) % 3


@pytest.mark.parametrize(
    ("levels", "kept"), [(None, np.arange(64)), ([0, -1], np.r_[0:32, 48:64])]
)
def test_linear_probe_is_a_regression_on_latents(model, images, levels, kept):
    train, test = slice(18), slice(18, 24)
    probe = linear_probe(
        model,
        images[train],
        LABELS[train],
        levels=levels,
        regularization=0.5,
        batch_size=7,
    )
    z = model.encode(images).numpy()[:, kept]
    scaler = StandardScaler().fit(z[train])
    expected = LogisticRegression(C=2.0, max_iter=1000)
    expected.fit(scaler.transform(z[train]), LABELS[train])
    probabilities = expected.predict_proba(scaler.transform(z[test]))
    np.testing.assert_allclose(
        probe.predict_proba(images[test]), probabilities, atol=1e-3
    )
    assert np.ptp(probabilities) > 0.1


def test_linear_probe_finds_what_can_be_told_apart(model, images):
    bright = images // 2 + 100 * (LABELS == 1)[:, None, None, None].astype(np.uint8)
    is_bright = np.where(LABELS == 1, "bright", "dark")
    probe = linear_probe(model, bright[:12], is_bright[:12])
    assert probe.score(bright[12:], is_bright[12:]) == 1


def test_linear_probe_needs_a_model_without_classes(conditional, images):
    with pytest.raises(ValueError, match="`class_log_likelihoods`.*num_classes=3"):
        linear_probe(conditional, images, LABELS)


def test_likelihoods_of_all_classes(conditional, images):
    found = class_log_likelihoods(conditional, images, seed=7)
    assert found.shape == (24, 3)
    for k in range(3):
        expected = conditional.log_prob(images, np.full(24, k), seed=7)
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-6)
    assert np.ptp(found, axis=1).min() > 0.01


def test_without_a_seed_all_classes_see_the_same_noise(
    conditional, images, monkeypatch
):
    seeds = []

    def log_prob(images, labels, seed, *, context=None):
        seeds.append(tuple(np.asarray(seed)))
        return np.zeros(len(images), np.float32)

    monkeypatch.setattr(conditional, "log_prob", log_prob)
    for _ in range(2):
        class_log_likelihoods(conditional, images)
    assert len(seeds) == 6
    assert len(set(seeds[:3])) == len(set(seeds[3:])) == 1
    assert seeds[0] != seeds[3]


def test_likelihoods_of_classes_that_are_contexts(with_context, images):
    contexts = np.array([[0, 1], [1, 0], [1, 1]], np.float32)
    found = class_log_likelihoods(with_context, images, seed=7, class_contexts=contexts)
    assert found.shape == (24, 3)
    for k in range(3):
        context = np.tile(contexts[k], [24, 1])
        expected = with_context.log_prob(images, seed=7, context=context)
        np.testing.assert_allclose(found[:, k], expected, rtol=1e-6)
    assert np.ptp(found, axis=1).min() > 0.01


def test_contexts_of_classes_and_classes_exclude_one_another(conditional, images):
    with pytest.raises(ValueError, match="without `num_classes`.*num_classes=3"):
        class_log_likelihoods(conditional, images, class_contexts=np.eye(2))


def test_likelihoods_need_a_model_with_classes(model, images):
    with pytest.raises(ValueError, match="no classes.*`linear_probe`"):
        class_log_likelihoods(model, images)
