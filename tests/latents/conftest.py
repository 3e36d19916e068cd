"""Tiny models away from their initial weights, which no test changes."""

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg

SIZES = (32, 16, 16)
"""Latents of the levels of these models: after each squeeze half stays behind."""


def perturbed(**arguments) -> tfg.GlowModel:
    """A model of 8 x 8 grey images whose every part does something."""
    tiny = {"num_levels": 3, "num_steps": 1, "hidden_channels": 4, "seed": 0}
    model = tfg.GlowModel((8, 8, 1), **tiny | arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    return model


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
