import itertools

import numpy as np
import pytest

pytest.importorskip("skimage", reason="the photographs need scikit-image")

from tfp_glow.data import photos  # noqa: E402
from tfp_glow.data.sources import SPLITS  # noqa: E402

SIZE = photos.CROP_SIZE


def times_used(split):
    """How often the crops of a split use each pixel, for each photograph."""
    counts = [np.zeros(photo.shape[:2], int) for photo in photos.photographs()]
    for number, top, left in photos.crop_boxes(split):
        counts[number][top : top + SIZE, left : left + SIZE] += 1
    return counts


def test_splits_share_no_pixel():
    for first, second in itertools.combinations(SPLITS, 2):
        for a, b in zip(times_used(first), times_used(second), strict=True):
            assert not np.any((a > 0) & (b > 0)), (first, second)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_crops_that_are_measured_on_do_not_overlap(split):
    assert max(count.max() for count in times_used(split)) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_every_photograph_is_in_every_split(split):
    assert all(count.any() for count in times_used(split))


@pytest.mark.parametrize("split", SPLITS)
def test_crops_are_whole_and_lie_at_their_boxes(split):
    images, labels = photos.arrays(split)
    boxes = photos.crop_boxes(split)
    assert images.shape == (len(boxes), *photos.info().event_shape)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, boxes[:, 0])
    for image, (number, top, left) in zip(images[:50], boxes[:50], strict=True):
        whole = photos.photographs()[number]
        bottom, right = top + SIZE, left + SIZE
        assert (top, left) >= (0, 0)
        assert bottom <= whole.shape[0]
        assert right <= whole.shape[1]
        np.testing.assert_array_equal(image, whole[top:bottom, left:right])


def test_sizes_of_the_splits_never_change():
    expected = {"train": 4063, "validation": 270, "test": 267}
    assert photos.info().num_examples == expected
    assert {split: len(photos.crop_boxes(split)) for split in SPLITS} == expected


def test_no_box_comes_twice():
    boxes = photos.crop_boxes("train")
    assert len(np.unique(boxes, axis=0)) == len(boxes)


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_crops_show_every_photograph(split):
    # So that `load_arrays(..., limit=64)` is a fair sample.
    assert set(photos.crop_boxes(split)[:64, 0]) == set(range(7))


def test_order_is_the_same_each_time():
    np.testing.assert_array_equal(
        photos.crop_boxes("train"), photos.crop_boxes("train")
    )


def test_photographs_are_in_colour():
    for photo in photos.photographs():
        assert photo.dtype == np.uint8
        assert np.ptp(photo.astype(int), axis=-1).mean() > 5


def test_unknown_split():
    with pytest.raises(ValueError, match=r"Received: split='tests'\. Did you mean 't"):
        photos.crop_boxes("tests")
