"""Models that no test changes, and what they are asked to decode."""

import numpy as np
import pytest
import tensorflow as tf
from tiny_models import perturbed

import tfp_glow as tfg


@pytest.fixture(scope="session")
def model() -> tfg.GlowModel:
    return perturbed()


@pytest.fixture(scope="session")
def conditional() -> tfg.GlowModel:
    return perturbed(num_classes=3)


@pytest.fixture(scope="session")
def with_context() -> tfg.GlowModel:
    return perturbed(context_shape=(2,))


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [24, 8, 8, 1], np.uint8)


class Decoded:
    """Latents and labels that a model was asked to decode, before they are rounded."""

    def __init__(self, model: tfg.GlowModel) -> None:
        self._decode = model.decode

    def __call__(
        self, latents: tf.Tensor, labels: tf.Tensor | None = None, *, context=None
    ) -> tf.Tensor:
        self.latents = np.asarray(latents)
        self.labels = None if labels is None else np.asarray(labels)
        self.context = context
        return self._decode(latents, labels, context=context)


@pytest.fixture
def decoded(model, monkeypatch) -> Decoded:
    spy = Decoded(model)
    monkeypatch.setattr(model, "decode", spy)
    return spy


@pytest.fixture
def decoded_by_class(conditional, monkeypatch) -> Decoded:
    spy = Decoded(conditional)
    monkeypatch.setattr(conditional, "decode", spy)
    return spy
