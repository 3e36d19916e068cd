import hashlib

import numpy as np
import pytest
import sklearn.datasets

from tfp_glow.data import digits
from tfp_glow.data.sources import SPLITS


def test_splits_have_their_sizes_and_share_no_image():
    parts = [digits.indices(split) for split in SPLITS]
    assert [len(part) for part in parts] == [1397, 200, 200]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(1797))


def test_description_is_true_of_the_arrays():
    info = digits.info()
    for split in SPLITS:
        images, labels = digits.arrays(split)
        assert images.shape == (info.num_examples[split], *info.event_shape)
        assert images.dtype == np.uint8
        assert labels.dtype == np.int32
        assert set(labels) == set(range(info.num_classes))
        # All bits below `num_bits` are zero, and all levels above occur.
        levels = 2**info.num_bits
        assert set(np.unique(images)) == set(range(0, 256, 256 // levels))


def test_images_and_labels_are_those_of_scikit_learn():
    original = sklearn.datasets.load_digits()
    rows = digits.indices("validation")
    images, labels = digits.arrays("validation")
    np.testing.assert_array_equal(
        images[..., 0] / 16, np.minimum(original.images[rows], 15)
    )
    np.testing.assert_array_equal(labels, original.target[rows])


def test_test_split_never_changes():
    images, labels = digits.arrays("test")
    content = images.tobytes() + labels.astype("<i4").tobytes()
    assert hashlib.sha256(content).hexdigest() == (
        "6a071b935fb3338f76ad068f9c0c170114c7623dc59e3d5cfa1d59c03e0017e9"
    )


def test_unknown_split():
    with pytest.raises(ValueError, match=r"'train'.*Received: split='valid'"):
        digits.indices("valid")
