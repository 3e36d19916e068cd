"""A picture that a command is given: a file, or the number of a held-out image."""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tfp_glow.cli.inference import find_label, load_held_out
from tfp_glow.cli.output import beginning, name_of
from tfp_glow.cli.run_folder import Run
from tfp_glow.data.padding import pad, padded_shape
from tfp_glow.data.squares import to_squares
from tfp_glow.glow_model import GlowModel

__all__ = ["Picture", "load_picture", "read_pictures"]

_LOG = logging.getLogger("tfp_glow")


@dataclass(frozen=True)
class Picture:
    """An image for a run's model.

    Attributes:
        name: What it is called.
        name_in_files: The same in names of files, where no other picture has it.
        image: `uint8` `[H, W, C]`.
        label: Its class, where the model has classes.
    """

    name: str
    name_in_files: str
    image: np.ndarray
    label: int | None


def load_picture(text: str, run: Run, arguments: argparse.Namespace) -> Picture:
    """Reads what a user has named; warns of a picture that is strange to the model.

    Args:
        text: Name of a file, or digits: the number of a held-out image, from 0.
        run: The run that it is for.
        arguments: With `label`, and `dataset`, `data_dir` and `split` for numbers.

    Returns:
        The picture, as the model's images are.

    Raises:
        FileNotFoundError: If there is no such file, or the data set is gone.
        ValueError: If it cannot be read, is no picture, or needs a label.
    """
    num_classes = run.model.glow.num_classes
    label = None
    if arguments.label is not None or (num_classes and not text.isdecimal()):
        names = run.config.get("class_names", [])
        label = find_label(arguments.label, num_classes, names)
    if not text.isdecimal():
        file = Path(text)
        if file.exists():
            _check_readable(file)
        for example in read_pictures([file], run.model.event_shape):
            image = example["image"].numpy()
            picture = Picture(beginning(file.stem), name_of(file), image, label)
            _warn_if_strange(picture, run.model)
            return picture
        raise ValueError(f"{text} is no picture that can be read.")
    number = int(text)
    limited = argparse.Namespace(**{**vars(arguments), "limit": number + 1})
    held_out = load_held_out(run, limited, with_labels=label is None)
    if number >= len(held_out.images):
        raise ValueError(
            f"{held_out.dataset} has {len(held_out.images)} {held_out.split} images, "
            f"numbered from 0. Received: {number}. To name a file, write ./{text}."
        )
    if num_classes and label is None and held_out.labels is not None:
        label = int(held_out.labels[number])
    return Picture(text, text, held_out.images[number], label)


def _warn_if_strange(picture: Picture, model: GlowModel) -> None:
    labels = None if picture.label is None else [picture.label]
    bits = model.bits_per_dim(picture.image[np.newaxis], labels, seed=0).numpy().item()
    if not bits <= model.num_bits:  # also where it is no number
        _LOG.warning(
            "%s is unlike what the model was trained on: %.3g bits/dim, more than the "
            "%d that it takes as it is. What is made of it means little. (Is it dark "
            "on white where those were bright on black?)",
            picture.name,
            bits,
            model.num_bits,
        )


def _check_readable(file: Path) -> None:
    try:
        with Image.open(file) as picture:
            picture.load()
    except Exception as error:  # Pillow raises many kinds.
        raise ValueError(f"{file} is no picture that can be read: {error}") from None


def read_pictures(
    files: Sequence[Path], event_shape: tuple[int, int, int], **others: np.ndarray
) -> tf.data.Dataset:
    """Pictures as a model's images: the square in the middle, resized.

    Where the first that opens has the size that images had before they were padded,
    they are padded too. Those that cannot be read are left out, with a warning each.

    Args:
        files: Their names.
        event_shape: `(H, W, C)` of the model.
        **others: What else to give of each picture, `[N, ...]`.

    Returns:
        Dictionaries of `image`, `uint8` `[H, W, C]`, and the others.

    Raises:
        FileNotFoundError: If none is there.
        ValueError: If the model's images are no squares.
    """
    shape = _shape_before_padding(files, event_shape)
    names = tf.data.Dataset.from_tensor_slices(
        {"file": list(map(os.fsencode, files)), **others}
    )
    return to_squares(names, shape).map(
        lambda example: example | {"image": pad(example["image"], shape)}
    )


def _shape_before_padding(
    files: Sequence[Path], event_shape: tuple[int, int, int]
) -> tuple[int, int, int]:
    height, width, channels = event_shape
    if height != width:
        raise ValueError(
            f"The model's images are {height}x{width}, and pictures become squares. "
            f"Name the number of an image of its data set. Received: {files[0]}."
        )
    if not any(file.exists() for file in files):
        raise FileNotFoundError(f"There is no picture {files[0]}.")
    for file in files:
        try:
            with Image.open(file) as picture:
                width, height = picture.size
        except Exception:  # Pillow raises many kinds; the warning will say which.
            continue
        shape = (height, width, channels)
        is_padded = height == width and padded_shape(shape) == event_shape
        return shape if is_padded else event_shape
    return event_shape
