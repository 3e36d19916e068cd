"""Tiny models whose every part does something."""

import numpy as np

import tfp_glow as tfg

SIZES = (32, 16, 16)
"""Latents of the levels of these models: after each squeeze half stays behind."""


def perturbed(**arguments) -> tfg.GlowModel:
    """A model of 8 x 8 grey images, away from its initial weights."""
    tiny = {"num_levels": 3, "num_steps": 1, "hidden_channels": 4, "seed": 0}
    model = tfg.GlowModel((8, 8, 1), **tiny | arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    return model
