"""The images: their pieces, and in which order they are trained on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .pieces import FORMAT_VERSION

__all__ = ["INDEX", "batches", "load_images", "steps_per_epoch"]

INDEX = "images.json"


def load_images(
    folder: Path, image_shape: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Reads what `python -m tfp_glow.accelerate data` wrote.

    Args:
        folder: The folder of all pieces.
        image_shape: `[H, W, C]` of the model.

    Returns:
        Training and held-out images, `uint8` `[N, H, W, C]`, and what is said of them.

    Raises:
        FileNotFoundError: If a piece is missing.
        TypeError: If a piece is not of bytes.
        ValueError: If a piece has another shape or number of images than it should.
    """
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(
            f"{folder} has no {INDEX}. Write it where TensorFlow is, with "
            f"`python -m tfp_glow.accelerate data NAME {folder}`."
        )
    about = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    if about.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder} must be of format {FORMAT_VERSION}. Received: format_version="
            f"{about.get('format_version')}. Write it again."
        )
    found = []
    for part in ("train", "held_out"):
        pieces = about[part]["pieces"]
        missing = [p["file"] for p in pieces if not (folder / p["file"]).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder} must hold {len(pieces)} pieces of {part}. Missing: "
                f"{', '.join(missing)}. Copy them there too."
            )
        found.append(np.concatenate([_piece(folder, p, image_shape) for p in pieces]))
    return found[0], found[1], about


def _piece(folder: Path, piece: dict, image_shape: Sequence[int]) -> np.ndarray:
    file = folder / piece["file"]
    images = np.load(file, allow_pickle=False)
    if images.dtype != np.uint8:
        raise TypeError(f"{file} must be uint8. Received: dtype={images.dtype}.")
    expected = (piece["num_images"], *image_shape)
    if images.shape != expected:
        raise ValueError(
            f"{file} must be of shape {expected}, images as the bundle was exported "
            f"for. Received: shape={images.shape}."
        )
    return images


def batches(
    first_step: int, num_steps: int, *, num_images: int, batch_size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Which images the steps train on, and which of them are mirrored.

    Each epoch has an order that hangs on seed and epoch alone; images that fill no
    batch at its end are left out of it.

    Args:
        first_step: Number of the first step, from 0.
        num_steps: How many.
        num_images: Training images.
        batch_size: Images in a batch.
        seed: Seed of the order and of the mirrored ones.

    Returns:
        Numbers of images, int32 `[S, B]`, and booleans `[S, B]`.

    Raises:
        ValueError: If there are not enough images for a batch.
    """
    per_epoch = steps_per_epoch(num_images, batch_size)
    orders, flips = [], []
    begun = first_step % per_epoch
    for epoch in range(
        first_step // per_epoch, (first_step + num_steps - 1) // per_epoch + 1
    ):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(num_images)[: per_epoch * batch_size]
        orders.append(order.reshape(per_epoch, batch_size).astype(np.int32))
        flips.append(rng.random([per_epoch, batch_size]) < 0.5)
    chosen = slice(begun, begun + num_steps)
    return np.concatenate(orders)[chosen], np.concatenate(flips)[chosen]


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches that images fill.

    Raises:
        ValueError: If there are not enough for one.
    """
    if num_images < batch_size:
        raise ValueError(
            f"There must be at least {batch_size} training images, the bundle's batch. "
            f"Received: {num_images}."
        )
    return num_images // batch_size
