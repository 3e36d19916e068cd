"""Data sets of TensorFlow Datasets (TFDS), prepared on disk or downloaded."""

import importlib.util
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from tfp_glow._extras import require
from tfp_glow._suggest import suggestion
from tfp_glow.data.padding import pad, padded_shape, padding_note
from tfp_glow.data.sources import (
    FOLDER,
    MAX_HELD_OUT,
    SPLITS,
    DatasetInfo,
    check_split,
)
from tfp_glow.data.squares import check_crop, note, to_squares

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
_SECONDS = 10  # in which a server must answer
_VERSIONS = {
    "downsampled_imagenet": "ImageNet as van den Oord et al. made it smaller, of which "
    "papers report bits/dim: not comparable with image-net.org's resized images",
    "imagenet_resized": "ImageNet as Chrabaszcz et al. resized it, from image-net.org: "
    "not comparable with downsampled_imagenet",
}


class PreparedDataset:
    """One TFDS data set of uint8 images, under the key "image".

    - Images of one size are as they are. Sizes that 8 does not divide are padded with
      zeros, the image in the centre.
    - Where they differ, or another size is asked for, they are cut to squares and
      resized, see `squares`.
    - Without a validation split, the last tenth of train is it, 5,000 images at most,
      and train is the rest.
    - Without a test split there is none: validation in its place would let the same
      images choose a model and judge it.
    """

    def __init__(
        self,
        name: str,
        *,
        data_dir: str | None = None,
        image_size: int | None = None,
        crop: str = "center",
        seed: int | tf.Tensor = 0,
        embedded: tuple[str, ...] = (),
    ) -> None:
        """Finds the data set, and downloads it if it is not there.

        Args:
            name: Name as TFDS has it: "mnist", "imagenet_resized/32x32", or that of a
                set of your own that was prepared in `data_dir`.
            data_dir: Directory of prepared data sets; by default that of TFDS.
            image_size: Side of the squares. The images' own size when not given, if
                that is one for all.
            crop: How they are cut out, one of `squares.CROPS`; images that have the
                size already are left as they are.
            seed: Of random crops, which training images alone have.
            embedded: Names that are no TFDS sets, to suggest when `name` is misspelled.

        Raises:
            FileNotFoundError: If it is not prepared and cannot be downloaded.
            ImportError: If TFDS is not installed.
            ValueError: If there is no such set, its images cannot be used, or they
                differ in size and `image_size` is not given.
        """
        check_crop(crop, image_size)
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
                "pictures, a .npy or .npz file of images, the name of a TensorFlow "
                "Datasets set, or of one prepared in `data_dir` (--data-dir). "
                f"Received: name={name!r}, data_dir={data_dir!r}.{hint}"
            ) from None
        self._name = name
        self._image_shape, self._class_names = _check_features(self._builder, tfds)
        self._attribute_names = _attribute_names(self._builder, tfds)
        self._image_size = _square_size(self._builder, self._image_shape, image_size)
        if self._image_size is None:
            self._event_shape = padded_shape(self._image_shape)
        else:
            channels = 1 if self._image_shape[-1] == 1 else 3
            self._event_shape = (self._image_size, self._image_size, channels)
        self._is_resized = image_size is not None and self._image_size is not None
        self._crop, self._seed = crop, seed
        if not self._builder.is_prepared():
            _download(self._builder, name)

        self._slices = _slices(self._builder.info.splits)

    def info(self) -> DatasetInfo:
        """Returns the description of the data set."""
        notes = []
        if self._builder.name in _VERSIONS:
            notes.append(_VERSIONS[self._builder.name])
        if self._image_size is None:
            notes += padding_note(self._image_shape)
        elif self._is_resized:
            notes.append(note(self._image_size, self._crop))
        validation = self._slices.get("validation", "validation")
        if validation != "validation":
            notes.append(f"validation is {validation}")
        numbers = tuple(map(str, range(len(self._class_names))))
        return DatasetInfo(
            name=self._name,
            event_shape=self._event_shape,
            num_bits=8,
            num_classes=len(self._class_names) or None,
            class_names=() if self._class_names == numbers else self._class_names,
            attribute_names=self._attribute_names,
            num_examples={
                split: self._builder.info.splits[part].num_examples
                for split, part in self._slices.items()
            },
            note="; ".join(notes + self._missing_images()),
            homepage=self._builder.info.homepage,
            licence=self._builder.info.redistribution_info.license,
            citation=self._builder.info.citation,
        )

    def examples(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split, one by one, always in the same order.

        Shapes:
            Dictionaries of `image`, uint8 `[H, W, C]`, and, where the set has them,
            `label`, int32 `[]`, and `attributes`, bool `[A]`.

        Raises:
            ValueError: If there is no such split.
        """
        check_split(split)
        if split not in self._slices:
            raise ValueError(
                f"{self._name!r} has no such split: `split` must be one of "
                f"{tuple(self._slices)}. Received: split={split!r}."
            )
        if self._image_size is not None:
            return self._squares(split)

        def finish(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            image = pad(example["image"], self._image_shape)  # [H, W, C]
            return {"image": image} | self._labels(example)

        return self._builder.as_dataset(split=self._slices[split]).map(
            finish, num_parallel_calls=tf.data.AUTOTUNE
        )

    def _squares(self, split: str) -> tf.data.Dataset:
        """As `examples`; Pillow decodes, as it does a folder's pictures."""
        tfds = require("tensorflow_datasets", f"The data set {self._name!r}")

        def rename(example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            return {"encoded": example["image"]} | self._labels(example)

        encoded = self._builder.as_dataset(
            split=self._slices[split],
            decoders={"image": tfds.decode.SkipDecoding()},
        )
        return to_squares(
            encoded.map(rename),
            self._event_shape,
            crop=self._crop,
            seed=self._seed if split == "train" else None,
        )

    def _labels(self, example: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What an example has besides its image."""
        labels = {}
        if self._class_names:
            labels["label"] = tf.cast(example["label"], tf.int32)
        if self._attribute_names:
            values = [example["attributes"][name] for name in self._attribute_names]
            labels["attributes"] = tf.stack(values)
        return labels

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
) -> tuple[tuple[int | None, int | None, int], tuple[str, ...]]:
    """Returns the shape of the images and the names of the classes, () without labels.

    Raises:
        ValueError: If there are no uint8 images under the key "image".
    """
    features = builder.info.features
    is_dictionary = isinstance(features, tfds.features.FeaturesDict)
    image = features["image"] if is_dictionary and "image" in features else None
    if not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise ValueError(
            f"{builder.name!r} has no feature 'image' of uint8 images. Choose a data "
            f"set of images. Received: features={features}."
        )
    label = features["label"] if "label" in features else None
    is_label = isinstance(label, tfds.features.ClassLabel)
    has_classes = is_label and label.num_classes is not None
    return image.shape, tuple(label.names) if has_classes else ()


def _attribute_names(
    builder: "tfds.core.DatasetBuilder", tfds: "tfds"
) -> tuple[str, ...]:
    """Names of what is true or false of each image, as `celeb_a` has them."""
    features = builder.info.features
    attributes = features["attributes"] if "attributes" in features else None
    if not isinstance(attributes, tfds.features.FeaturesDict):
        return ()
    is_boolean = [feature.np_dtype == np.bool_ for feature in attributes.values()]
    # TFDS reads them in any order.
    return tuple(sorted(attributes)) if all(is_boolean) else ()


def _square_size(
    builder: "tfds.core.DatasetBuilder",
    shape: tuple[int | None, int | None, int],
    image_size: int | None,
) -> int | None:
    """Returns the side of the squares; `None` where the images stay as they are.

    Raises:
        ValueError: If a size is needed, or would enlarge.
    """
    if None in shape:
        # TFDS does not say it, but the images of downsampled_imagenet/32x32 are 32x32.
        config = builder.builder_config.name if builder.builder_config else ""
        if image_size is None and (found := re.fullmatch(r"(\d+)x\1", config)):
            return int(found[1])
        if image_size is None:
            raise ValueError(
                f"The images of {builder.name!r} differ in size, and a flow is for one "
                "size: give `image_size` (--image-size), such as 32 or 64, to which "
                "the square in the middle of each is resized. "
                f"Received: image shape {shape}."
            )
        return image_size
    if image_size is None or padded_shape(shape)[:2] == (image_size, image_size):
        return None
    if image_size > min(shape[:2]):
        raise ValueError(
            f"The images of {builder.name!r} are {shape[0]}x{shape[1]}, and "
            "`image_size` (--image-size) would enlarge them. "
            f"Received: image_size={image_size}."
        )
    return image_size


def _slices(splits: "Mapping[str, tfds.core.SplitInfo]") -> dict[str, str]:
    """Returns what TFDS reads for each split: its own name, or a part of train."""
    slices = {split: split for split in SPLITS if split in splits}
    if "train" in splits and "validation" not in splits:
        total = splits["train"].num_examples
        end = total - min(total // 10, MAX_HELD_OUT)
        parts = {"train": f"train[:{end}]", "validation": f"train[{end}:]"}
        slices = parts | {split: split for split in slices if split != "train"}
    return slices


def _download(builder: "tfds.core.DatasetBuilder", name: str) -> None:
    """Downloads and prepares a data set.

    Raises:
        FileNotFoundError: If that fails for lack of a network.
    """
    if builder.name == "lsun" and not importlib.util.find_spec("tensorflow_io"):
        # Before it downloads gigabytes that it cannot read.
        raise FileNotFoundError(
            f"{name!r} is not prepared in {str(builder.data_dir)!r}, and TensorFlow "
            "Datasets needs the package tensorflow_io to prepare it. Without it export "
            "the pictures with https://github.com/fyu/lsun, `python data.py export`, "
            f"and name their folder: {FOLDER}PATH."
        )
    try:
        # TFDS tries a dead network for minutes.
        hosts = {
            urllib.parse.urlsplit(url).netloc: url for url in builder.url_infos or ()
        }
        for url in hosts.values():
            _reach(url)
        builder.download_and_prepare()
    except AssertionError as error:  # TFDS's where files are to be fetched by hand
        raise FileNotFoundError(
            f"{name!r} is not prepared in {str(builder.data_dir)!r}, and TensorFlow "
            f"Datasets cannot download it: {error}"
        ) from error
    except (OSError, *_failed_downloads()) as error:
        raise FileNotFoundError(
            f"{name!r} is not prepared in {str(builder.data_dir)!r} and could not be "
            f"downloaded ({error}). Name the directory that holds the prepared data "
            "with `data_dir` (--data-dir), or try again with a network."
        ) from error


def _failed_downloads() -> tuple[type[Exception], ...]:
    """What TFDS raises of an answer that is an error, or another file than it knows."""
    download = require("tensorflow_datasets", "A download").download
    return download.DownloadError, download.download_manager.NonMatchingChecksumError


def _reach(url: str) -> None:
    """Asks a server, through the proxy if there is one, and does not mind its answer.

    Raises:
        OSError: If there is no answer.
    """
    request = urllib.request.Request(url, method="HEAD")
    try:
        # Not `urlopen`, which remembers the proxy of the first time.
        urllib.request.build_opener().open(request, timeout=_SECONDS).close()
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        if not isinstance(error.reason, ssl.SSLError):  # TFDS has certificates itself.
            raise
