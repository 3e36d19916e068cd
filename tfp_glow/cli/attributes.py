"""`tfp-glow attributes`: the directions of attributes in a run's latent space."""

import argparse
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from tfp_glow import data
from tfp_glow.cli.inference import find_dataset, numbers_of_classes
from tfp_glow.cli.output import telling_what_to_do
from tfp_glow.cli.picture_input import read_pictures
from tfp_glow.cli.report import table
from tfp_glow.cli.run_folder import Run, load_run
from tfp_glow.cli.strip import strip_files, write_strips
from tfp_glow.glow_model import GlowModel
from tfp_glow.latents import AttributeDirections, attribute_directions, manipulate

__all__ = ["run"]

_BATCH_SIZE = 128
_ALPHAS = np.linspace(-1.0, 1.0, 9)
_MAX_SHOWN = 40  # in the PNG file; all are in the other

Batch = tuple[np.ndarray, np.ndarray]


def run(arguments: argparse.Namespace) -> None:
    """Finds the directions, shows them on one image and prints where they are.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If a file named by `--output` is there.
        FileNotFoundError: If there is no run, or its data set is gone.
        ImportError: If `--mp4` is asked for and its library is missing.
        OSError: If a file cannot be written.
        ValueError: If there are no labels or no such split, an attribute is one of all
            images or of none, or a file is damaged.
    """
    trained = load_run(arguments.run_folder)
    *shown, file = strip_files(arguments, trained.path / "attributes.png", [".npz"])
    if arguments.csv is None:
        names, batches = _of_dataset(trained, arguments)
    else:
        names, batches = _of_table(trained, arguments)
    kept: list[Batch] = []
    directions = attribute_directions(
        trained.model, _keeping_the_first(batches, kept, names, arguments), names=names
    )
    with telling_what_to_do(file):
        directions.save(file)
    (images, labels), *_ = kept
    label = None if trained.model.glow.num_classes is None else int(labels[0])
    rows = _rows(trained.model, images[0], label, directions)
    print(f"{_report(directions)}\n")
    write_strips(shown, rows, _ALPHAS)
    print(file)


def _of_dataset(
    run: Run, arguments: argparse.Namespace
) -> tuple[list[str], Iterable[Batch]]:
    """Names of the attributes or classes of a data set, and its batches."""
    dataset, source, info = find_dataset(run, arguments)
    has_attributes = bool(info.attribute_names)
    if has_attributes:
        _check_unconditional(run.model, dataset)
    kind = "with_attributes" if has_attributes else "with_labels"
    examples = data.load(dataset, arguments.split, **{kind: True}, **source)
    if arguments.limit is not None:
        examples = examples.take(arguments.limit)
    if not has_attributes and numbers_of_classes(info, run) is not None:
        raise ValueError(
            f"{run.path} numbers its classes in another order than {dataset}: name a "
            f"data set with classes {run.config['class_names']}."
        )
    names = info.attribute_names or info.class_names
    names = names or map(str, range(info.num_classes))
    return list(names), examples.batch(_BATCH_SIZE).as_numpy_iterator()


def _of_table(
    run: Run, arguments: argparse.Namespace
) -> tuple[list[str], Iterable[Batch]]:
    """Names of the columns of a CSV file, and batches of its pictures."""
    _check_unconditional(run.model, arguments.csv)
    with arguments.csv.open(newline="", encoding="utf-8-sig") as opened:
        try:
            heading, *lines = [line for line in csv.reader(opened) if line] or [[]]
        except csv.Error as error:
            raise ValueError(f"{arguments.csv} is no table: {error}.") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{arguments.csv} is not in UTF-8: {error}. Save it in that encoding."
            ) from error
    lines = lines[: arguments.limit]
    if not lines or not heading[1:]:
        raise ValueError(
            f"{arguments.csv} has no lines below a heading, or one column alone."
        )
    numbers = [_numbers(line, len(heading), arguments.csv) for line in lines]
    labels = np.array(numbers)  # [N, A]
    # It is checked again when it is known which pictures can be read.
    _check_counts((labels > 0).sum(axis=0), len(labels), heading[1:], arguments)
    folder = arguments.pictures or arguments.csv.parent
    examples = read_pictures(
        [folder / line[0] for line in lines], run.model.event_shape, label=labels
    )
    batches = examples.map(lambda example: (example["image"], example["label"]))
    return heading[1:], batches.batch(_BATCH_SIZE).as_numpy_iterator()


def _check_unconditional(model: GlowModel, source: object) -> None:
    if model.glow.num_classes is not None:
        raise ValueError(
            "A class-conditional model needs the class of each picture, which is not "
            f"among its attributes in {source}. Find those of a data set with labels."
        )


def _numbers(line: list[str], length: int, file: Path) -> list[float]:
    """What stands behind a picture's name in a line."""
    try:
        numbers = [float(cell) for cell in line[1:]]
    except ValueError:
        numbers = []
    if len(numbers) != length - 1 or not np.isfinite(numbers).all():
        raise ValueError(
            f"Each line of {file} must have a picture and {length - 1} numbers, as its "
            f"heading says. Received: {','.join(line)}."
        )
    return numbers


def _keeping_the_first(
    batches: Iterable[Batch],
    kept: list[Batch],
    names: list[str],
    arguments: argparse.Namespace,
) -> Iterator[Batch]:
    counts, total = np.zeros(len(names), int), 0
    for images, labels in batches:
        if not kept:
            kept.append((images, labels))
        yield images, labels
        if labels.ndim == 1:  # classes
            labels = labels[:, np.newaxis] == np.arange(len(names))  # [N, A]
        counts += (labels > 0).sum(axis=0)
        total += len(labels)
    _check_counts(counts, total, names, arguments)


def _check_counts(
    counts: np.ndarray, total: int, names: list[str], arguments: argparse.Namespace
) -> None:
    """Raises `ValueError` where all images have an attribute, or none has it."""
    some = (counts > 0) & (counts < total)
    if some.all():
        return
    source, mend = arguments.dataset or "the data set", "name another --split"
    if arguments.csv is not None:
        source, mend = arguments.csv, "remove these columns, or add pictures"
    if arguments.limit is not None:
        mend = f"raise --limit, or {mend}"
    empty = [name for name, is_good in zip(names, some, strict=True) if not is_good]
    raise ValueError(
        "Each attribute needs images that have it and images that have it not. "
        f"Received: {total} images of {source}, all or none of which have {empty}. To "
        f"mend it, {mend}."
    )


def _rows(
    model: GlowModel,
    image: np.ndarray,
    label: int | None,
    directions: AttributeDirections,
) -> dict[str, np.ndarray]:
    return {
        name: manipulate(model, image, directions[name], _ALPHAS, label=label).numpy()
        for name in directions.names[:_MAX_SHOWN]
    }


def _report(directions: AttributeDirections) -> str:
    lengths = np.linalg.norm(directions.vectors, axis=1)
    counts = zip(
        directions.names,
        directions.num_positives,
        directions.num_negatives,
        lengths,
        strict=True,
    )
    rows = [
        (name, f"{p:,}", f"{n:,}", f"{length:.2f}") for name, p, n, length in counts
    ]
    return table([("attribute", "images with it", "without", "length"), *rows])
