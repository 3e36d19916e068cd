"""Writes `tests/golden/openai_glow`: run it only when a format changes on purpose.

The checkpoints are openai/glow's in form, with random values; what they give was
computed by the package, in float64, when its results equalled openai/glow's own.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from openai_glow import Config, make_variables, write_checkpoint

import tfp_glow as tfg

FOLDER = Path(__file__).parents[1] / "golden" / "openai_glow"
CONFIGS = {
    "invconv-affine-classes": Config(
        image_size=4, channels=1, n_y=3, classifier=True, seed=1
    ),
    "lu-affine": Config(image_size=4, channels=1, width=2, lu=True, seed=2),
    "shuffle-additive-5bit": Config(
        image_size=4,
        channels=1,
        width=2,
        flow_permutation=1,
        flow_coupling=0,
        learntop=False,
        n_bits_x=5,
        seed=3,
    ),
}


def load(name: str, dtype: str) -> tfg.GlowModel:
    config = CONFIGS[name]
    return tfg.load_openai_checkpoint(
        FOLDER / name, config.image_size, num_bits=config.n_bits_x, dtype=dtype
    )


def values(name: str, model: tfg.GlowModel, images: np.ndarray, noise: np.ndarray):
    """What is compared, from images and noise of one bin's width."""
    labels = np.arange(len(images)) % CONFIGS[name].n_y if CONFIGS[name].n_y else None
    kwargs = {} if labels is None else {"labels": labels}
    x = tfg.dequantize(images, model.num_bits, noise=noise, dtype=model.glow.dtype)
    log_prob = model.distribution.log_prob(x, bijector_kwargs=kwargs)
    latents = model.glow.inverse(tf.identity(x), **kwargs)
    found = {
        "bits": tfg.bits_per_dim(log_prob, model.event_shape, model.num_bits),
        "latents": latents,
        "decoded": model.glow.forward(0.7 * latents, **kwargs),
    }
    if model.classifier is not None:
        top = model.glow.last_level_output(latents, **kwargs)
        found["logits"] = model.classifier(tf.reduce_mean(top, [1, 2]))
    return {key: value.numpy() for key, value in found.items()}


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [3, 4, 4, 1], np.uint8)
    noise = rng.uniform(0, 1, images.shape)
    for name, config in CONFIGS.items():
        write_checkpoint(FOLDER / name, make_variables(config), slots=False)
        model = load(name, "float64")
        np.savez_compressed(
            FOLDER / name / "golden.npz",
            images=images,
            noise=noise,
            **values(name, model, images, noise),
        )
