"""Batches of images as training takes them: shuffled and mirrored.

Each call takes the next batch, epoch after epoch.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

import tfp_glow as tfg  # isort: skip  (first, as in a program that trains)

import numpy as np
import tensorflow as tf
from PIL import Image
from subject import Subject

__all__ = ["folder", "prepared"]


def prepared(*, name: str, data_dir: str | None, batch_size: int) -> Subject:
    """A prepared set of TensorFlow Datasets."""
    return _batches(
        tfg.data.load(
            name, "train", batch_size=batch_size, shuffle=True, data_dir=data_dir
        )
    )


def folder(
    *, num_pictures: int, size: int, image_size: int, crop: str, batch_size: int
) -> Subject:
    """JPEG files as smooth as photographs, made up, and gone when the process is."""
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    rng = np.random.default_rng(0)
    for i in range(num_pictures):
        coarse = rng.integers(0, 256, [size // 8, size // 8, 3], np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(Path(directory) / f"{i}.jpg", quality=75)
    batches = tfg.data.load(
        f"folder:{directory}",
        "train",
        batch_size=batch_size,
        shuffle=True,
        image_size=image_size,
        crop=crop,
    )
    return _batches(batches)


def _batches(batches: tf.data.Dataset) -> Subject:
    iterator = iter(tfg.data.random_flip(batches.repeat()))

    def call() -> float:
        return float(tf.shape(next(iterator))[0])

    return Subject(call)
