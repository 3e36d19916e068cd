"""Options that several commands have, and what their values may be."""

import argparse
import math
import re

__all__ = [
    "EXPORT_PRECISIONS",
    "PRECISIONS",
    "add_data_dir",
    "add_limit",
    "add_num_noise_samples",
    "add_seed",
    "model_name",
    "positive_integer",
    "positive_number",
]

PRECISIONS = ["float32", "float64", "mixed_bfloat16"]
EXPORT_PRECISIONS = ["float32", "bfloat16"]


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
        "--data-dir", metavar="DIR", help="folder of prepared TensorFlow Datasets"
    )


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
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]*", text, re.ASCII) or text.isdecimal():
        raise argparse.ArgumentTypeError(
            "must be of letters, digits, _, - and ., not begin with - or ., and not be "
            f"a number, unlike {text!r}"
        )
    return text


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
