"""Studios of tiny models whose every part does something."""

import struct
import zlib
from pathlib import Path

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


def write_black(file: Path, side: int) -> None:
    """A square of black pixels as PNG: Pillow would compress them for seconds."""
    parts = {
        b"IHDR": struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(side * (1 + side // 8)), 1),
        b"IEND": b"",
    }
    with file.open("wb") as opened:
        opened.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in parts.items():
            checksum = struct.pack(">I", zlib.crc32(kind + data))
            opened.write(struct.pack(">I", len(data)) + kind + data + checksum)
