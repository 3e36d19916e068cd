"""Options that several commands have, and what their values may be."""

import argparse
import math
from pathlib import Path

from tfp_glow._names import NAME_RULE, is_model_name

__all__ = [
    "EXPORT_PRECISIONS",
    "NUM_SAMPLES",
    "PRECISIONS",
    "add_data_dir",
    "add_held_out",
    "add_limit",
    "add_num_noise_samples",
    "add_output",
    "add_run",
    "add_seed",
    "model_name",
    "port",
    "positive_integer",
    "positive_number",
]

PRECISIONS = ["float32", "float64", "mixed_bfloat16"]
EXPORT_PRECISIONS = ["float32", "bfloat16"]
NUM_SAMPLES = 64
"""Images of `sample`, unless there is `--num-samples`."""


def add_run(parser: argparse._ActionsContainer, **options: str) -> None:
    """Adds the run folder."""
    parser.add_argument(
        "run_folder",
        **options,
        type=Path,
        metavar="RUN",
        help="what `train --output` or `import-openai` wrote",
    )


def add_held_out(parser: argparse.ArgumentParser) -> None:
    """Adds which images there are besides those of training."""
    parser.add_argument(
        "--dataset", metavar="NAME", help="data set (default: that of the run)"
    )
    parser.add_argument("--split", help="split of the data set (default: test)")
    add_data_dir(parser)


def add_output(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds where a command writes, and whether it may replace what is there."""
    # Not a `Path`, which would forget a slash at the end.
    parser.add_argument("--output", metavar="PATH", help=help)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the files of --output"
    )


def add_num_noise_samples(parser: argparse.ArgumentParser) -> None:
    """Adds how many draws of noise an image gets."""
    parser.add_argument(
        "--num-noise-samples",
        type=positive_integer,
        default=1,
        metavar="K",
        help="draws of noise for an image, whose probabilities are averaged: "
        "more give a tighter bound (default: %(default)s)",
    )


def add_limit(parser: argparse.ArgumentParser, help: str) -> None:
    """Adds how many images are used."""
    parser.add_argument("--limit", type=positive_integer, metavar="N", help=help)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Adds where prepared data sets are."""
    parser.add_argument(
        "--data-dir",
        type=_folder_or_address,
        metavar="DIR",
        help="folder of prepared TensorFlow Datasets",
    )


def _folder_or_address(text: str) -> str:
    """A folder, as a run remembers it: wherever the next command is given."""
    return text if "://" in text else str(Path(text).expanduser().absolute())


def add_seed(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Adds a seed."""
    parser.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help=f"seed {purpose} (default: %(default)s)",
    )


def model_name(text: str) -> str:
    """A name that can be part of an address, and is no version's number."""
    if not is_model_name(text) or text.isdecimal():
        raise argparse.ArgumentTypeError(
            f"must be of {NAME_RULE}, and not be a number, unlike {text!r}"
        )
    return text


def port(text: str) -> int:
    """A port, or 0 for any that is free."""
    value = int(text) if text.isdecimal() and text.isascii() else -1
    if not 0 <= value < 2**16:
        raise argparse.ArgumentTypeError(f"must be from 0 to 65535, not {text!r}")
    return value


def positive_integer(text: str) -> int:
    """An integer of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**30:  # The noise of a seed uses twice its value, as an int32.
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**30 - 1, not {text!r}")
    return value


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value
