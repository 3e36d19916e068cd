"""`python -m tfp_glow.accelerate data`: the images of a data set in small files."""

import argparse
import json
from math import prod
from pathlib import Path

import numpy as np

from tfp_glow import data
from tfp_glow.accelerate.on_card.images import INDEX
from tfp_glow.accelerate.on_card.pieces import FORMAT_VERSION, PIECE_BYTES, write_json
from tfp_glow.cli.inference import held_out_split

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Writes training and held-out images, and says how many there are.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If the folder holds something else.
        FileNotFoundError: If the data set is not there and cannot be downloaded.
        ValueError: If there is no such data set.
    """
    folder = arguments.folder
    if folder.exists() and any(folder.iterdir()):
        if not arguments.overwrite or not _files(folder):
            raise FileExistsError(
                f"{folder} is not empty. Name another folder, or replace the images in "
                "it with --overwrite; anything else has to be removed by hand."
            )
    source = {"data_dir": arguments.data_dir, "image_size": arguments.image_size}
    info = data.describe(arguments.dataset, **source)
    split = held_out_split(info)
    train = ["train"]
    if arguments.with_validation and split != "validation":
        train.append("validation")

    def load(split: str) -> np.ndarray:
        limit = arguments.limit
        return data.load_arrays(arguments.dataset, split, limit=limit, **source)[0]

    images = {"train": np.concatenate(list(map(load, train))), "held_out": load(split)}
    folder.mkdir(parents=True, exist_ok=True)
    for file in _files(folder):
        file.unlink(missing_ok=True)
    about = {
        "format_version": FORMAT_VERSION,
        "dataset": info.name,
        "note": info.note,
        "train": {"split": "+".join(train), "pieces": []},
        "held_out": {"split": split, "pieces": []},
    }
    for part, values in images.items():
        size = max(1, (PIECE_BYTES - 1000) // prod(values.shape[1:]))
        for start in range(0, len(values), size):
            piece = values[start : start + size]
            file = folder / f"{part}-{start // size:03d}.npy"
            np.save(file, piece)
            about[part]["pieces"].append({"file": file.name, "num_images": len(piece)})
    write_json(folder / INDEX, about)
    print(
        f"{folder}: {len(images['train']):,} images to train on "
        f"({about['train']['split']}), {len(images['held_out']):,} to measure on "
        f"({split})."
    )
    if info.note:
        print(f"Note: {info.note}.")


def _files(folder: Path) -> list[Path]:
    """The index of images that are there, and the pieces that it names; else none."""
    index = folder / INDEX
    try:
        about = json.loads(index.read_bytes())
        pieces = about["train"]["pieces"] + about["held_out"]["pieces"]
        names = [Path(piece["file"]).name for piece in pieces]
    except (KeyError, OSError, TypeError, ValueError):
        return []
    return [index, *(folder / name for name in names)]
