"""Studios of tiny models whose every part does something."""

import numpy as np

import tfp_glow as tfg
from tfp_glow.demo.studio import Studio
from tfp_glow.latents import AttributeDirections

NAMES = ("round", "slanted")


def make_model(event_shape=(8, 8, 1), **arguments) -> tfg.GlowModel:
    """A model away from its initial weights."""
    tiny = {"num_levels": 2, "num_steps": 1, "hidden_channels": 4, "seed": 0}
    model = tfg.GlowModel(event_shape, **tiny | arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    return model


def make_studio(event_shape=(8, 8, 1), *, directions=None, **arguments) -> Studio:
    """A studio of a tiny model and pictures of noise, two of each of three classes."""
    model = make_model(event_shape, **arguments)
    rng = np.random.default_rng(0)
    return Studio(
        model,
        "tiny",
        rng.integers(0, 256, [6, *event_shape], np.uint8),
        labels=np.array([2, 1, 0, 2, 1, 0]),
        directions=directions,
    )


def make_directions(event_shape=(8, 8, 1)) -> AttributeDirections:
    """Directions of two attributes, far enough to change a picture."""
    vectors = np.random.default_rng(2).normal(size=[2, np.prod(event_shape)])
    return AttributeDirections(
        NAMES, vectors.astype(np.float32), np.array([3, 3]), np.array([3, 3])
    )
