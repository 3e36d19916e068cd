"""32x32 colour crops of the photographs that ship with scikit-learn and scikit-image.

Both wheels were looked into: `china` and `flower` lie in scikit-learn's, `astronaut`,
`cat` (chelsea.png), `coffee`, `rocket` and `motorcycle` (the left of a stereo pair,
whose right would repeat it) in scikit-image's, so nothing is downloaded. Left out are
the colour images that no hand-held camera took (Hubble's deep field, the retina, the
stained tissue). China, flower and rocket are JPEG files: another version of Pillow may
decode them one grey level apart.

Each photograph is divided into blocks of 96x96 pixels, and each block belongs to one
split. A crop is taken only where all of its pixels belong to its split, so no pixel of
a test crop is in a training or validation crop. Pixels are as the files have them: half
size would show more of an object in a crop, but leave a quarter of the pixels, too few
to train on.

All splits show the same seven photographs. A likelihood on the test split is about new
regions of known photographs, and will be lower on a photograph of something else.
"""

import functools

import numpy as np
import tensorflow as tf

from tfp_glow._extras import require
from tfp_glow.data.sources import SPLITS, DatasetInfo, check_split

__all__ = ["CROP_SIZE", "arrays", "crop_boxes", "examples", "info", "photographs"]

CROP_SIZE = 32
_TRAIN_STRIDE = 16  # Training crops overlap; those that are measured on do not.
_BLOCK_SIZE = 96
# Splits of the blocks in a row; the next row is shifted by 3. So no two blocks of test
# touch, and every photograph is in every split.
_PATTERN = np.array(["test", "train", "train", "validation", "train", "train", "train"])
_ROW_SHIFT = 3


@functools.cache
def photographs() -> tuple[np.ndarray, ...]:
    """Returns the whole photographs; their order is that of the labels.

    Shapes:
        Returned: seven arrays, uint8 `[height, width, 3]`, of different sizes.

    Raises:
        ImportError: If scikit-learn or scikit-image is not installed.
    """
    load_sample_image = require(
        "sklearn.datasets", "The data set 'photos'"
    ).load_sample_image
    images = require("skimage.data", "The data set 'photos'")
    return (
        load_sample_image("china.jpg"),
        load_sample_image("flower.jpg"),
        images.astronaut(),
        images.cat(),
        images.coffee(),
        images.rocket(),
        images.stereo_motorcycle()[0],
    )


def info() -> DatasetInfo:
    """Returns the description of the data set.

    Raises:
        ImportError: If scikit-learn or scikit-image is not installed.
    """
    return DatasetInfo(
        name="photos",
        event_shape=(CROP_SIZE, CROP_SIZE, 3),
        num_bits=8,
        num_classes=len(photographs()),
        num_examples={split: len(crop_boxes(split)) for split in SPLITS},
        homepage="https://scikit-image.org/docs/stable/api/skimage.data.html",
        note="photos: the splits are disjoint regions of the same photographs; a "
        "label is the number of the photograph",
    )


def crop_boxes(split: str) -> np.ndarray:
    """Returns the place of every crop of a split.

    They are in a random order that never changes, so that the first few show all of the
    photographs.

    Shapes:
        Returned: int `[N, 3]` of photograph, top, left; a crop is `CROP_SIZE` square.

    Raises:
        ImportError: If scikit-learn or scikit-image is not installed.
        ValueError: If there is no such split.

    Example:
        >>> crop_boxes("test").shape
        (267, 3)
    """
    check_split(split)
    stride = _TRAIN_STRIDE if split == "train" else CROP_SIZE
    boxes = []
    for number, photograph in enumerate(photographs()):
        height, width, _ = photograph.shape
        top, left = np.mgrid[
            0 : height - CROP_SIZE + 1 : stride, 0 : width - CROP_SIZE + 1 : stride
        ]
        # A crop is smaller than a block, so every block that it meets has a corner.
        inside = np.logical_and.reduce(
            [
                _split_of_pixel(top + down, left + right) == split
                for down in (0, CROP_SIZE - 1)
                for right in (0, CROP_SIZE - 1)
            ]
        )
        numbers = np.full(np.count_nonzero(inside), number)
        boxes.append(np.stack([numbers, top[inside], left[inside]], axis=-1))
    ordered = np.concatenate(boxes)  # [N, 3]
    return ordered[np.random.RandomState(0).permutation(len(ordered))]


def _split_of_pixel(row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Returns the name of the split that a pixel belongs to, in any photograph."""
    block = _ROW_SHIFT * (row // _BLOCK_SIZE) + column // _BLOCK_SIZE
    return _PATTERN[block % len(_PATTERN)]


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the crops of a split and the numbers of their photographs.

    Shapes:
        Returned: images uint8 `[N, 32, 32, 3]`, labels int32 `[N]`, in `[0, 7)`.

    Raises:
        ImportError: If scikit-learn or scikit-image is not installed.
        ValueError: If there is no such split.
    """
    boxes = crop_boxes(split)
    crops = [
        photographs()[number][top : top + CROP_SIZE, left : left + CROP_SIZE]
        for number, top, left in boxes
    ]
    return np.stack(crops), boxes[:, 0].astype(np.int32)


def examples(split: str) -> tf.data.Dataset:
    """Returns the crops of a split, one by one, always in the same order.

    Shapes:
        Dictionaries of `image`, uint8 `[32, 32, 3]`, and `label`, int32 `[]`.

    Raises:
        ImportError: If scikit-learn or scikit-image is not installed.
        ValueError: If there is no such split.
    """
    images, labels = arrays(split)
    return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
