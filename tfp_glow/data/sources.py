"""What every source of images offers, and the checks that all of them share."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import tensorflow as tf

from tfp_glow._suggest import suggestion

__all__ = [
    "ARRAY_SUFFIXES",
    "FOLDER",
    "IMAGENET",
    "MAX_HELD_OUT",
    "SIZE_MULTIPLE",
    "SPLITS",
    "DatasetInfo",
    "Source",
    "check_split",
]

SPLITS = ("train", "validation", "test")
FOLDER = "folder:"
"""What the name of a folder of pictures begins with, before its path."""
IMAGENET = "imagenet_npz:"
"""What the name of a folder of image-net.org's resized images begins with."""
ARRAY_SUFFIXES = (".npy", ".npz")
"""What the names of files of arrays end in."""
SIZE_MULTIPLE = 8
"""Of heights and widths: the three levels that a Glow has by default halve them."""
MAX_HELD_OUT = 5_000
"""Images that a split has at most which is taken away from another."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a model has to know about a data set before it sees an image.

    Attributes:
        name: Name that `load` takes.
        event_shape: `(H, W, C)` of an image as `load` gives it, after padding.
        num_bits: Bits of a value that carry information: the `num_bits` of a model.
        num_classes: Labels are in `[0, num_classes)`; None for a set without labels.
        num_examples: Number of images of each split that there is.
        note: What to say beside a figure: padding, missing images, shared content.
        class_names: Names of the labels; empty where they are numbers alone.
        attribute_names: Names of what an image has or has not, such as "Smiling" of
            "celeb_a".
        homepage: Address of a page about the set; empty where there is none.
        licence: Of the images, where that is known.
        citation: What to cite, where that is known.
        checksums: Of the names of each split's files, where the set is a folder: they
            differ as soon as a split is of other pictures.
    """

    name: str
    event_shape: tuple[int, int, int]
    num_bits: int
    num_classes: int | None
    num_examples: Mapping[str, int]
    note: str = ""
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    homepage: str = ""
    licence: str = ""
    citation: str = ""
    checksums: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Source(Protocol):
    """One data set. The modules `digits` and `photos` are such sources themselves."""

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[H, W, C]`, and, where the set has them,
            `label`, int32 `[]`, and `attributes`, bool `[A]`.
        """


def check_split(split: str) -> None:
    """Checks the name of a split.

    Raises:
        ValueError: If `split` is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise ValueError(
            f"`split` must be one of {SPLITS}. Received: split={split!r}."
            f"{suggestion(split, SPLITS)}"
        )
