"""Data sets of TensorFlow Datasets (TFDS), prepared on disk or downloaded."""

import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfp_glow._suggest import suggestion
from tfp_glow.data.sources import (
    FOLDER,
    MAX_HELD_OUT,
    SIZE_MULTIPLE,
    SPLITS,
    DatasetInfo,
    check_split,
    require,
)

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

__all__ = ["PreparedDataset"]

# TFDS knows how many images there are on this disk, not how many there should be.
_OFFICIAL_NUM_EXAMPLES = {
    "cifar10": {"train": 50_000, "test": 10_000},
    "cifar100": {"train": 50_000, "test": 10_000},
    "fashion_mnist": {"train": 60_000, "test": 10_000},
    "kmnist": {"train": 60_000, "test": 10_000},
    "mnist": {"train": 60_000, "test": 10_000},
    "svhn_cropped": {"train": 73_257, "test": 26_032},
}


class PreparedDataset:
    """One TFDS data set of uint8 images of one size, under the key "image".

    - Sizes that 8 does not divide are padded with zeros, the image in the centre.
    - Without a validation split, the last tenth of train is it, 5,000 images at most,
      and train is the rest.
    - Without a test split there is none: validation in its place would let the same
      images choose a model and judge it.
    """

    def __init__(
        self, name: str, *, data_dir: str | None = None, embedded: tuple[str, ...] = ()
    ) -> None:
        """Finds the data set, and downloads it if it is not there.

        Args:
            name: Name as TFDS has it: "mnist", "imagenet_resized/32x32", or that of a
                set of your own that was prepared in `data_dir`.
            data_dir: Directory of prepared data sets; by default that of TFDS.
            embedded: Names that are no TFDS sets, to suggest when `name` is misspelled.

        Raises:
            FileNotFoundError: If it is not prepared and cannot be downloaded.
            ImportError: If TFDS is not installed.
            ValueError: If there is no such set, or its images cannot be used.
        """
        hint = suggestion(name, embedded)
        purpose = f"Received: name={name!r}.{hint} If not, it" if hint else None
        tfds = require("tensorflow_datasets", purpose or f"The data set {name!r}")
        try:
            self._builder = tfds.builder(name, data_dir=data_dir)
        except ValueError:
            registered = tfds.list_builders(with_community_datasets=False)
            if re.split("[/:]", name)[0] in registered:
                raise  # The configuration or version: TFDS says which there are.
            hint = suggestion(name, [*embedded, *registered])
            if Path(name).is_dir():
                hint = f" There is a folder of that name: {FOLDER}{name}?"
            # `from None`: otherwise TFDS adds a list of all its data sets.
            raise ValueError(
                f"`name` must be one of {embedded}, {FOLDER}PATH for a folder of "
                "pictures, the name of a TensorFlow Datasets set, or of one prepared "
                "in `data_dir` (--data-dir). "
                f"Received: name={name!r}, data_dir={data_dir!r}.{hint}"
            ) from None
        self._name = name
        self._image_shape, self._num_classes = _check_features(self._builder, tfds)
        if not self._builder.is_prepared():
            _download(self._builder, name)

        self._slices = _slices(self._builder.info.splits)

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""
        height, width, channels = self._image_shape
        padding = _padding(self._image_shape)
        event_shape = (height + sum(padding[0]), width + sum(padding[1]), channels)
        notes = []
        if event_shape != self._image_shape:
            notes.append(
                f"{height}x{width} images padded to {event_shape[0]}x{event_shape[1]} "
                "with zeros"
            )
        validation = self._slices.get("validation", "validation")
        if validation != "validation":
            notes.append(f"validation is {validation}")
        return DatasetInfo(
            name=self._name,
            event_shape=event_shape,
            num_bits=8,
            num_classes=self._num_classes,
            num_examples={
                split: self._builder.info.splits[part].num_examples
                for split, part in self._slices.items()
            },
            note="; ".join(notes + self._missing_images()),
        )

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[H, W, C]`, and, where the set has labels,
            `label`, int32 `[]`.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(split)
        if split not in self._slices:
            raise ValueError(
                f"{self._name!r} has no such split: `split` must be one of "
                f"{tuple(self._slices)}. Received: split={split!r}."
            )
        padding = _padding(self._image_shape)

        def pad(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            padded = {"image": tf.pad(example["image"], padding)}  # [H, W, C]
            if self._num_classes is not None:
                padded["label"] = tf.cast(example["label"], tf.int32)
            return padded

        return self._builder.as_dataset(split=self._slices[split]).map(
            pad, num_parallel_calls=tf.data.AUTOTUNE
        )

    def _missing_images(self) -> list[str]:
        """Returns the sentence to say beside figures when images are missing."""
        present = self._builder.info.splits
        official = _OFFICIAL_NUM_EXAMPLES.get(self._builder.name, {})
        incomplete = [
            f"{present[split].num_examples:,} of {count:,} {split} images"
            for split, count in official.items()
            if split in present and present[split].num_examples != count
        ]
        if not incomplete:
            return []
        return [f"{self._name}: {' and '.join(incomplete)} present"]


def _check_features(
    builder: "tfds.core.DatasetBuilder", tfds: "tfds"
) -> tuple[tuple[int, int, int], int | None]:
    """Returns the shape of the images and the number of classes, None without labels.

    Raises:
        ValueError: If there are no uint8 images of one size under the key "image".
    """
    features = builder.info.features
    is_dictionary = isinstance(features, tfds.features.FeaturesDict)
    image = features["image"] if is_dictionary and "image" in features else None
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise ValueError(
            f"{builder.name!r} has no feature 'image' of uint8 images. Choose a data "
            f"set of images. Received: features={features}."
        )
    if None in image.shape:
        raise ValueError(
            f"The images of {builder.name!r} differ in size, and a flow is for one "
            "size. Choose a set whose images are alike, such as "
            "'imagenet_resized/32x32', or give a folder of its pictures, folder:PATH. "
            f"Received: image shape {image.shape}."
        )
    label = features["label"] if "label" in features else None
    has_classes = isinstance(label, tfds.features.ClassLabel)
    return image.shape, label.num_classes if has_classes else None


def _slices(splits: "Mapping[str, tfds.core.SplitInfo]") -> dict[str, str]:
    """Returns what TFDS reads for each split: its own name, or a part of train."""
    slices = {split: split for split in SPLITS if split in splits}
    if "train" in splits and "validation" not in splits:
        total = splits["train"].num_examples
        end = total - min(total // 10, MAX_HELD_OUT)
        parts = {"train": f"train[:{end}]", "validation": f"train[{end}:]"}
        slices = parts | {split: split for split in slices if split != "train"}
    return slices


def _padding(shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Returns zeros before and after for each axis; the image is in the centre."""
    missing = [-size % SIZE_MULTIPLE for size in shape[:2]]
    return [(total // 2, total - total // 2) for total in missing] + [(0, 0)]


def _download(builder: "tfds.core.DatasetBuilder", name: str) -> None:
    """Downloads and prepares a data set.

    Raises:
        FileNotFoundError: If that fails for lack of a network.
    """
    try:
        # TFDS tries a dead network for minutes; a name that is unknown fails at once.
        # Behind a proxy it is the proxy that knows the names.
        if not urllib.request.getproxies():
            for url in builder.url_infos or ():
                socket.getaddrinfo(urllib.parse.urlsplit(url).hostname, None)
        builder.download_and_prepare()
    except OSError as error:
        raise FileNotFoundError(
            f"{name!r} is not prepared in {str(builder.data_dir)!r} and could not be "
            f"downloaded ({error}). Name the directory that holds the prepared data "
            "with `data_dir` (--data-dir), or try again with a network."
        ) from error
