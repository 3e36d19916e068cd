"""From a name and a split to batches of images."""

import numpy as np
import tensorflow as tf

from tfp_glow.data import digits, photos
from tfp_glow.data.arrays import ArrayDataset
from tfp_glow.data.epochs import num_shuffled
from tfp_glow.data.folder import FolderDataset
from tfp_glow.data.imagenet import ImagenetDataset
from tfp_glow.data.prepared import PreparedDataset
from tfp_glow.data.sources import (
    ARRAY_SUFFIXES,
    FOLDER,
    IMAGENET,
    DatasetInfo,
    Source,
)

__all__ = ["describe", "is_resizable", "load", "load_arrays", "names"]

_EMBEDDED: dict[str, Source] = {"digits": digits, "photos": photos}
# TFDS files are in random order already, and a folder's pictures are.


def names() -> tuple[str, ...]:
    """Returns the names of the data sets that need no network.

    Example:
        >>> names()
        ('digits', 'photos')
    """
    return tuple(_EMBEDDED)


def is_resizable(name: str) -> bool:
    """Returns whether `image_size` and `crop` are for a data set.

    Example:
        >>> is_resizable("folder:pictures"), is_resizable("digits")
        (True, False)
    """
    is_array = name.startswith(IMAGENET) or name.endswith(ARRAY_SUFFIXES)
    return name.startswith(FOLDER) or not (name in _EMBEDDED or is_array)


def describe(
    name: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    crop: str = "center",
) -> DatasetInfo:
    """Returns what a model has to know about a data set.

    Args:
        name: As in `load`.
        data_dir: Directory of prepared TFDS data sets; by default that of TFDS.
        image_size: Side of the squares to which a folder's pictures, or the images of a
            TFDS set, are cut and resized; their own size when not given.
        crop: How they are cut out: "center", or "random", which is of training images
            alone; see `tfp_glow.data.squares`.

    Raises:
        FileNotFoundError: If the set is not prepared and cannot be downloaded.
        ImportError: If the package that has the set is not installed.
        ValueError: If there is no such set, or its images cannot be used.

    Example:
        >>> describe("digits").event_shape
        (8, 8, 1)
    """
    return _source(name, data_dir, image_size, crop).info()


def load(
    name: str,
    split: str,
    *,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int | tf.Tensor = 0,
    with_labels: bool = False,
    with_attributes: bool = False,
    data_dir: str | None = None,
    image_size: int | None = None,
    crop: str = "center",
    drop_remainder: bool = False,
) -> tf.data.Dataset:
    """Returns the images of a split as a `tf.data.Dataset`.

    Args:
        name: One of `names()`; `folder:PATH`, a folder of pictures; a `.npy` or `.npz`
            file of images; `imagenet_npz:PATH`, a folder of image-net.org's resized
            images; or a data set of TensorFlow Datasets, which is downloaded if it is
            not prepared in `data_dir`.
        split: "train", "validation" or "test". A TFDS set without validation gives
            the last tenth of train for it (at most 5,000 images) and the rest as
            train; one without test has none.
        batch_size: Number of images in a batch; single images when not given.
        shuffle: Whether to shuffle, anew in each epoch.
        seed: Seed of shuffling and of random crops. The same seed gives the same
            epochs, under the same `tf.random.set_seed`.
        with_labels: Whether to give pairs of images and labels.
        with_attributes: Whether to give pairs of images and what they have or have not,
            in the order of `describe(name).attribute_names`.
        data_dir: Directory of prepared TFDS data sets; by default that of TFDS.
        image_size: Side of the squares to which a folder's pictures, or the images of a
            TFDS set, are cut and resized; their own size when not given.
        crop: How they are cut out: "center", or "random", which is of training images
            alone; see `tfp_glow.data.squares`.
        drop_remainder: Whether to leave out a last batch that is not full.

    Shapes:
        Elements: images uint8 `[B, H, W, C]`, or a pair of these and labels int32
        `[B]`, or attributes bool `[B, A]`. Without `batch_size`, all without B.

    Raises:
        FileNotFoundError: If the set is not prepared and cannot be downloaded.
        ImportError: If the package that has the set is not installed.
        ValueError: If there is no such set, split or label, or the images or the batch
            size cannot be used.

    Example:
        >>> batches = load("digits", "test", batch_size=50, with_labels=True)
        >>> images, labels = next(iter(batches))
        >>> images.shape, labels.shape
        (TensorShape([50, 8, 8, 1]), TensorShape([50]))
    """
    _check_count("batch_size", batch_size)
    source = _source(name, data_dir, image_size, crop, seed)
    examples = source.examples(split)
    if with_attributes and (with_labels or "attributes" not in examples.element_spec):
        raise ValueError(
            "`with_attributes` is for a TFDS set that has a dictionary of booleans "
            '"attributes", as "celeb_a" has, and without `with_labels`. Received: '
            f"name={name!r}, with_labels={with_labels}."
        )
    if with_labels and "label" not in examples.element_spec:
        raise ValueError(
            f"{name!r} has no class labels. Use `with_labels=False`, or a data set "
            "that has a feature 'label'. Received: with_labels=True."
        )
    if shuffle:
        info = source.info()
        size = min(info.num_examples[split], num_shuffled(info.event_shape))
        examples = examples.shuffle(size, seed, reshuffle_each_iteration=True)
    key = "label" if with_labels else "attributes" if with_attributes else None
    dataset = examples.map(
        (lambda example: (example["image"], example[key]))
        if key
        else (lambda example: example["image"])
    )
    if batch_size is not None:
        dataset = dataset.batch(batch_size, drop_remainder=drop_remainder)
    return dataset.prefetch(tf.data.AUTOTUNE)


def load_arrays(
    name: str,
    split: str,
    *,
    limit: int | None = None,
    data_dir: str | None = None,
    image_size: int | None = None,
    crop: str = "center",
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the images of a split as arrays: for small sets, and to evaluate on.

    Args:
        name: As in `load`.
        split: "train", "validation" or "test", as in `load`.
        limit: Number of images to return, the first ones; all when not given.
        data_dir: Directory of prepared TFDS data sets; by default that of TFDS.
        image_size: Side of the squares to which a folder's pictures, or the images of a
            TFDS set, are cut and resized; their own size when not given.
        crop: How they are cut out: "center", or "random", which is of training images
            alone; see `tfp_glow.data.squares`.

    Shapes:
        Returned: images uint8 `[N, H, W, C]`, and labels int32 `[N]` or None.

    Raises:
        FileNotFoundError: If the set is not prepared and cannot be downloaded.
        ImportError: If the package that has the set is not installed.
        ValueError: If there is no such set or split, or the images or the limit cannot
            be used.

    Example:
        >>> images, labels = load_arrays("digits", "test", limit=20)
        >>> images.shape, labels.shape
        ((20, 8, 8, 1), (20,))
    """
    _check_count("limit", limit)
    examples = _source(name, data_dir, image_size, crop).examples(split)
    if limit is not None:
        examples = examples.take(limit)
    batches = list(examples.batch(1_000).as_numpy_iterator())
    if not batches:
        raise ValueError(
            f"{name!r} has no {split} image that can be read to its end. "
            f"Received: split={split!r}."
        )
    joined = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
    return joined["image"], joined.get("label")


def _source(
    name: str,
    data_dir: str | None,
    image_size: int | None,
    crop: str,
    seed: int | tf.Tensor = 0,
) -> Source:
    """Finds a data set by its name."""
    _check_count("image_size", image_size)
    if not is_resizable(name) and (image_size is not None or crop != "center"):
        raise ValueError(
            "`image_size` (--image-size) and `crop` (--crop) are for pictures that may "
            f"have any size, and those of {name!r} have one. "
            f"Received: image_size={image_size}, crop={crop!r}."
        )
    squares = {"image_size": image_size, "crop": crop, "seed": seed}
    if name in _EMBEDDED:
        return _EMBEDDED[name]
    if name.startswith(FOLDER):
        return FolderDataset(name.removeprefix(FOLDER), **squares)
    if name.startswith(IMAGENET):
        return ImagenetDataset(name.removeprefix(IMAGENET))
    if name.endswith(ARRAY_SUFFIXES):
        return ArrayDataset(name)
    return PreparedDataset(name, data_dir=data_dir, embedded=names(), **squares)


def _check_count(argument: str, value: int | None) -> None:
    """Checks a number of images.

    Raises:
        ValueError: If it is neither None nor a positive integer.
    """
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ValueError(
            f"`{argument}` must be a positive integer or None. "
            f"Received: {argument}={value!r}."
        )
