"""The handwritten digits that ship with scikit-learn: 1,797 images, 8x8, 4 bits.

Training on them takes seconds, which makes them the set for a first try and for tests.

References:
    Alpaydin and Kaynak. Optical Recognition of Handwritten Digits. UCI, 1998.
    https://doi.org/10.24432/C50P49
"""

import numpy as np
import tensorflow as tf

from tfp_glow._extras import require
from tfp_glow.data.sources import DatasetInfo, check_split

__all__ = ["arrays", "examples", "indices", "info"]

_NUM_EXAMPLES = {"train": 1397, "validation": 200, "test": 200}


def info() -> DatasetInfo:
    """Returns the description of the data set."""
    return DatasetInfo(
        name="digits",
        event_shape=(8, 8, 1),
        num_bits=4,
        num_classes=10,
        num_examples=dict(_NUM_EXAMPLES),
        homepage="https://doi.org/10.24432/C50P49",
        licence="CC BY 4.0",
        citation="Alpaydin and Kaynak. Optical Recognition of Handwritten Digits. UCI, "
        "1998.",
        note="digits: the brightest of 17 grey levels, 16, is clipped to 15",
    )


def indices(split: str) -> np.ndarray:
    """Returns where the images of a split stand in `sklearn.datasets.load_digits()`.

    Shapes:
        Returned: int64 `[N]`.

    Raises:
        ValueError: If there is no such split.

    Example:
        >>> indices("test").shape
        (200,)
    """
    check_split(split)
    # NumPy guarantees the stream of RandomState for ever, of default_rng it does not.
    order = np.random.RandomState(0).permutation(sum(_NUM_EXAMPLES.values()))
    train_end = _NUM_EXAMPLES["train"]
    validation_end = train_end + _NUM_EXAMPLES["validation"]
    train, validation, test = np.split(order, [train_end, validation_end])
    return {"train": train, "validation": validation, "test": test}[split]


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of a split.

    The 17 grey levels 0..16 do not fit 4 bits, so 16 becomes 15; level k is then the
    uint8 value 16 k, whose top 4 bits are k.

    Shapes:
        Returned: images uint8 `[N, 8, 8, 1]`, labels int32 `[N]`, in `[0, 10)`.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split.
    """
    rows = indices(split)
    digits = require("sklearn.datasets", "The data set 'digits'").load_digits()
    levels = np.minimum(digits.images[rows], 15).astype(np.uint8)
    return 16 * levels[..., np.newaxis], digits.target[rows].astype(np.int32)


def examples(split: str) -> tf.data.Dataset:
    """Returns the images of a split, one by one, always in the same order.

    Shapes:
        Dictionaries of `image`, uint8 `[8, 8, 1]`, and `label`, int32 `[]`.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split.
    """
    images, labels = arrays(split)
    return tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
