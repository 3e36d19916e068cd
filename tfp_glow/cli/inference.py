"""Measuring and sampling in batches of one size, the same for the same seed."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfp_glow import data
from tfp_glow.cli.run_folder import Run
from tfp_glow.data import DatasetInfo
from tfp_glow.glow_model import GlowModel

__all__ = [
    "HeldOut",
    "check_label",
    "check_same_shape",
    "draw",
    "held_out_split",
    "load_held_out",
    "measure",
]

_BATCH_SIZE = 128  # Noise is drawn a batch at a time: another size gives other noise.


def held_out_split(info: DatasetInfo) -> str:
    """The split to report figures on: "test", or "validation" where there is none."""
    return "test" if "test" in info.num_examples else "validation"


@dataclass(frozen=True)
class HeldOut:
    """Images to judge a run by, and where they are from.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        note: What to say beside a figure.
        images: `uint8` `[N, H, W, C]`.
        labels: Integers `[N]`, or None where the data set has none.
    """

    dataset: str
    split: str
    note: str
    images: np.ndarray
    labels: np.ndarray | None


def load_held_out(run: Run, arguments: argparse.Namespace) -> HeldOut:
    """Loads images that a run was not trained on.

    Args:
        run: The run, which knows its data set unless it was imported.
        arguments: With `dataset`, `data_dir`, `split` and `limit`, or None for each.

    Raises:
        FileNotFoundError: If the data set is gone.
        ValueError: If neither says which data set, or there is no such split.
    """
    dataset = arguments.dataset or run.config["dataset"]
    if dataset is None:
        raise ValueError(
            f"{run.path} was imported and knows no data set. Name one: --dataset NAME."
        )
    source = _source(run, dataset)
    if arguments.data_dir is not None:
        source["data_dir"] = arguments.data_dir
    info = data.describe(dataset, **source)
    check_same_shape(info, run.model)
    split = arguments.split or held_out_split(info)
    images, labels = data.load_arrays(dataset, split, limit=arguments.limit, **source)
    return HeldOut(dataset, split, info.note, images, labels)


def _source(run: Run, dataset: str) -> dict[str, Any]:
    """How images of a data set become images as those that a run was trained on."""
    source = {name: run.config.get(name) for name in ("data_dir", "image_size")}
    if not data.is_resizable(dataset):
        return source | {"image_size": None}
    if dataset != run.config["dataset"] or "image_size" not in run.config:
        height, width, _ = run.model.event_shape
        source["image_size"] = height if height == width else None
    return source | {"crop": run.config.get("crop", "center")}


def check_same_shape(info: DatasetInfo, model: GlowModel) -> None:
    """Raises `ValueError` unless a model is of images like those of a data set."""
    if tuple(info.event_shape) != tuple(model.event_shape):
        sizes = [
            " x ".join(map(str, shape))
            for shape in (info.event_shape, model.event_shape)
        ]
        raise ValueError(
            f"The images of {info.name!r} are {sizes[0]}, and the model's {sizes[1]}. "
            "Name another data set."
        )


def measure(
    model: GlowModel,
    images: np.ndarray,
    labels: np.ndarray | None,
    *,
    seed: int = 0,
    num_noise_samples: int = 1,
) -> dict[str, float | int]:
    """Bits/dim of images.

    Args:
        model: The model.
        images: `uint8` `[N, H, W, C]`.
        labels: Integers `[N]`; not used where the model has no classes.
        seed: Seed of the noise.
        num_noise_samples: Draws of noise for each image.

    Returns:
        The mean `bits_per_dim`, its `standard_error` over images, and what they rest
        on: `num_images`, `num_noise_samples`, `seed`. Of a model with a classifier
        also the labels' mean cross-entropy in bits, `label_bits`.
    """
    if model.glow.num_classes is None:
        labels = None
    elif labels is None:
        raise ValueError(
            f"This model has {model.glow.num_classes} classes, and the data set has no "
            "labels. Choose one that has them."
        )
    bits = np.concatenate(
        [
            model.bits_per_dim(
                images[batch],
                None if labels is None else labels[batch],
                # A batch's draws count up from the second number.
                seed=[seed, batch.start * num_noise_samples],
                num_noise_samples=num_noise_samples,
            )
            for batch in _batches(len(images))
        ]
    ).astype(np.float64)
    # One image says nothing of the spread.
    error = bits.std(ddof=1) / np.sqrt(len(bits)) if len(bits) > 1 else np.nan
    figures = {
        "bits_per_dim": float(bits.mean()),
        "standard_error": None if np.isnan(error) else float(error),
        "num_images": len(bits),
        "num_noise_samples": num_noise_samples,
        "seed": seed,
    }
    if model.classifier is not None:
        label_bits = [
            model.label_bits(images[batch], labels[batch], seed=[seed, batch.start])
            for batch in _batches(len(images))
        ]
        figures["label_bits"] = float(np.mean(np.concatenate(label_bits)))
    return figures


def draw(
    model: GlowModel,
    num_samples: int,
    temperature: float,
    *,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """New images.

    Args:
        model: The model.
        num_samples: How many.
        temperature: Standard deviation of the latents.
        labels: Integers `[N]`, where the model has classes.
        seed: Seed of the latents.

    Returns:
        `uint8` `[N, H, W, C]`.

    Raises:
        ValueError: If the temperature is negative or not a number.
    """
    return np.concatenate(
        [
            model.sample(
                batch.stop - batch.start,
                temperature,
                labels=None if labels is None else labels[batch],
                seed=[seed, batch.start],
            )
            for batch in _batches(num_samples)
        ]
    )


def check_label(label: int | None, num_classes: int | None) -> None:
    """Raises `ValueError` unless a label is given where, and only where, one is needed.

    Args:
        label: The class asked for, if any.
        num_classes: How many the model has, or None.
    """
    if num_classes is None:
        if label is not None:
            raise ValueError(
                "This model has no classes. Leave --label out, or train one with "
                f"--conditional. Received: --label {label}."
            )
    elif label is None or not 0 <= label < num_classes:
        raise ValueError(
            f"This model has {num_classes} classes: choose one with --label, from 0 to "
            f"{num_classes - 1}. Received: "
            f"{'none' if label is None else f'--label {label}'}."
        )


def _batches(num_images: int) -> Iterator[slice]:
    for start in range(0, num_images, _BATCH_SIZE):
        yield slice(start, min(start + _BATCH_SIZE, num_images))
