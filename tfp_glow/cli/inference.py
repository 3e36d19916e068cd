"""Measuring and sampling in batches of one size, the same for the same seed."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

import numpy as np

from tfp_glow import data
from tfp_glow._batches import slices
from tfp_glow._suggest import suggestion
from tfp_glow.cli.run_folder import Run
from tfp_glow.data import DatasetInfo
from tfp_glow.glow_model import GlowModel

__all__ = [
    "BATCH_SIZE",
    "find_dataset",
    "HeldOut",
    "check_same_shape",
    "check_unchanged",
    "draw",
    "find_label",
    "held_out_split",
    "load_held_out",
    "measure",
    "numbers_of_classes",
]

BATCH_SIZE = 128  # Noise is drawn a batch at a time: another size gives other noise.
_NUM_NAMED = 10


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


def load_held_out(
    run: Run, arguments: argparse.Namespace, *, with_labels: bool = True
) -> HeldOut:
    """Loads images that a run was not trained on.

    Args:
        run: The run, which knows its data set unless it was imported.
        arguments: With `dataset`, `data_dir`, `split` and `limit`, or None for each.
        with_labels: Whether the data set's labels are wanted.

    Raises:
        FileNotFoundError: If the data set is gone.
        ValueError: If neither says which data set, there is no such split, or it has
            changed since.
    """
    dataset, source, info = find_dataset(run, arguments)
    split = arguments.split or held_out_split(info)
    if arguments.dataset is None:
        check_unchanged(
            info,
            split,
            run.config,
            "The model may have been trained on what is measured. To measure on them "
            f"as they are, name the data set, --dataset {quote(info.name)}.",
        )
    numbers = numbers_of_classes(info, run) if with_labels else None
    images, labels = data.load_arrays(dataset, split, limit=arguments.limit, **source)
    if labels is not None and numbers is not None:
        labels = numbers[labels]
    return HeldOut(dataset, split, info.note, images, labels if with_labels else None)


def numbers_of_classes(info: DatasetInfo, run: Run) -> np.ndarray | None:
    """Which number a run has given to each class of a data set, by their names.

    Returns:
        Integers, or None where the classes are the same, or have no names.

    Raises:
        ValueError: If the run knows nothing of one of the classes.
    """
    known, names = list(run.config.get("class_names", [])), info.class_names
    if not known or not names or tuple(known) == names:
        return None
    others = [name for name in names if name not in known]
    if others:
        raise ValueError(
            f"{run.path} was not trained on classes {others[:_NUM_NAMED]} of "
            f"{info.name!r}. Name a data set whose classes are among these: "
            f"{known[:_NUM_NAMED]}."
        )
    return np.array([known.index(name) for name in names])


def find_dataset(
    run: Run, arguments: argparse.Namespace
) -> tuple[str, dict[str, Any], DatasetInfo]:
    """The data set that is named, or that of a run.

    Args:
        run: The run.
        arguments: With `dataset` and `data_dir`, or None for each.

    Returns:
        Its name; arguments of `tfp_glow.data.load` and `load_arrays`, with which its
        images become such as the run was trained on; and what is known of it.

    Raises:
        FileNotFoundError: If the data set is gone.
        ValueError: If neither says which data set, or its images are others.
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
    return dataset, source, info


def _source(run: Run, dataset: str) -> dict[str, Any]:
    """How images of a data set become images as those that a run was trained on."""
    source = {name: run.config.get(name) for name in ("data_dir", "image_size")}
    if not data.is_resizable(dataset):
        return source | {"image_size": None}
    if dataset != run.config["dataset"] or "image_size" not in run.config:
        height, width, _ = run.model.event_shape
        source["image_size"] = height if height == width else None
    return source | {"crop": run.config.get("crop", "center")}


def check_unchanged(
    info: DatasetInfo, split: str, config: Mapping[str, Any], advice: str
) -> None:
    """Raises `ValueError` where a split is of other pictures or classes than it was.

    Args:
        info: The data set as it is.
        split: The split.
        config: The configuration of the run, which has recorded what there was.
        advice: What to do.
    """
    classes = config.get("class_names")
    recorded = config.get("checksums", {}).get(split)
    if classes and tuple(classes) != info.class_names:
        what, then, now = "classes", classes, info.class_names
    elif recorded is not None and recorded != info.checksums.get(split):
        what, then = f"{split} pictures", recorded.split("-")[0]
        now = info.checksums.get(split, "0-").split("-")[0]
    else:
        return
    raise ValueError(
        f"The {what} of {info.name!r} are no longer those of the training: pictures or "
        f"folders were added, removed or renamed. {advice} Received: {now}; there were "
        f"{then}."
    )


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
            for batch in slices(len(images), BATCH_SIZE)
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
            for batch in slices(len(images), BATCH_SIZE)
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
            for batch in slices(num_samples, BATCH_SIZE)
        ]
    )


def find_label(
    received: str | None, num_classes: int | None, class_names: Sequence[str] = ()
) -> int | None:
    """Returns the number of the class that was asked for.

    Args:
        received: Its name or number, if there is one. A name comes first: where classes
            are named "1" and "2", "1" is the first.
        num_classes: How many the model has, or None.
        class_names: Their names, if they are known.

    Raises:
        ValueError: Unless a class is named where, and only where, there are some.
    """
    if num_classes is None:
        if received is not None:
            raise ValueError(
                "This model has no classes. Leave --label out, or train one with "
                f"--conditional. Received: --label {received}."
            )
        return None
    if received in class_names:
        return class_names.index(received)
    if received is not None and received.isdecimal() and int(received) < num_classes:
        return int(received)
    shown = ", ".join(class_names[:_NUM_NAMED])
    shown += ", ..." if class_names[_NUM_NAMED:] else ""
    named = f" by its name ({shown}) or number" if class_names else ""
    raise ValueError(
        f"This model has {num_classes} classes: choose one with --label{named}, from 0 "
        f"to {num_classes - 1}. Received: "
        f"{'none' if received is None else f'--label {received}'}."
        f"{suggestion(received or '', class_names)}"
    )
