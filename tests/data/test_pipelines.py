import numpy as np
import pytest
import tensorflow as tf

from tfp_glow import data
from tfp_glow.data import digits


def epochs(count, **arguments):
    """Labels and images of the digits' validation split, for some epochs."""
    dataset = data.load("digits", "validation", batch_size=64, **arguments)
    return [np.concatenate(list(dataset.as_numpy_iterator())) for _ in range(count)]


def test_names_are_the_sets_that_load_without_network():
    assert data.names() == ("digits", "photos")


@pytest.mark.parametrize("name", ["digits", "photos"])
def test_elements_have_the_shapes_that_are_described(name):
    if name == "photos":
        pytest.importorskip("skimage", reason="the photographs need scikit-image")
    assert data.describe(name).name == name
    shape = data.describe(name).event_shape
    image = tf.TensorSpec(shape, tf.uint8)
    images = tf.TensorSpec((None, *shape), tf.uint8)
    labels = tf.TensorSpec([None], tf.int32)
    full = tf.TensorSpec((8, *shape), tf.uint8)

    assert data.load(name, "test").element_spec == image
    assert data.load(name, "test", batch_size=8).element_spec == images
    assert data.load(name, "test", batch_size=8, with_labels=True).element_spec == (
        images,
        labels,
    )
    assert (
        data.load(name, "test", batch_size=8, drop_remainder=True).element_spec == full
    )
    assert next(iter(data.load(name, "test", batch_size=8))).shape == full.shape


def test_number_of_batches_is_known():
    assert len(data.load("digits", "test", batch_size=64)) == 4
    assert len(data.load("digits", "test", batch_size=64, drop_remainder=True)) == 3
    assert len(data.load("digits", "test")) == 200


def test_without_shuffling_the_order_is_that_of_the_arrays():
    images, _ = digits.arrays("validation")
    first, second = epochs(2)
    np.testing.assert_array_equal(first, images)
    np.testing.assert_array_equal(second, images)


def test_shuffling_repeats_with_its_seed_and_differs_between_epochs():
    first, second = epochs(2, shuffle=True, seed=3)
    again_first, again_second = epochs(2, shuffle=True, seed=3)
    np.testing.assert_array_equal(first, again_first)
    np.testing.assert_array_equal(second, again_second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, epochs(1, shuffle=True, seed=4)[0])
    assert not np.array_equal(first, epochs(1)[0])


def test_shuffling_keeps_every_image_and_its_label():
    def rows(images, labels):
        return sorted(
            (image.tobytes(), int(label))
            for image, label in zip(images, labels, strict=True)
        )

    shuffled = data.load("digits", "test", shuffle=True, with_labels=True)
    assert rows(*zip(*shuffled.as_numpy_iterator(), strict=True)) == rows(
        *digits.arrays("test")
    )


def test_arrays_are_the_whole_split_or_its_beginning():
    images, labels = data.load_arrays("digits", "train")
    expected_images, expected_labels = digits.arrays("train")
    np.testing.assert_array_equal(images, expected_images)
    np.testing.assert_array_equal(labels, expected_labels)
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32

    few, few_labels = data.load_arrays("digits", "train", limit=5)
    np.testing.assert_array_equal(few, expected_images[:5])
    np.testing.assert_array_equal(few_labels, expected_labels[:5])
    assert len(data.load_arrays("digits", "test", limit=10_000)[0]) == 200


@pytest.mark.parametrize("value", [0, -3, 2.5])
def test_rejects_counts_that_are_no_positive_integers(value):
    with pytest.raises(ValueError, match=r"`batch_size` must.*batch_size="):
        data.load("digits", "test", batch_size=value)
    with pytest.raises(ValueError, match=r"`limit` must.*Received: limit="):
        data.load_arrays("digits", "test", limit=value)


def test_rejects_an_unknown_split():
    for load in (data.load, data.load_arrays):
        with pytest.raises(ValueError, match=r"split='tset'\. Did you mean 'test'\?"):
            load("digits", "tset")
