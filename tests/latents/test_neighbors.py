"""The nearest images, against all distances at once."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.latents import nearest_images


def by_hand(queries, images, num_neighbors):
    """Indices and root mean squares, from the whole table of differences."""
    queries, images = (
        np.asarray(x, np.float64).reshape(len(x), -1) for x in (queries, images)
    )
    table = np.sqrt(np.square(queries[:, None] - images).mean(axis=-1))
    order = np.argsort(table, axis=1, kind="stable")[:, :num_neighbors]
    return order, np.take_along_axis(table, order, axis=1)


def test_pixels_in_one_pass_over_batches(images):
    labels = np.arange(24)
    queries = np.concatenate([images[5:7], 255 - images[:1]])
    for source in (
        images,
        tf.constant(images),
        tf.data.Dataset.from_tensor_slices(images).batch(5),
        tf.data.Dataset.from_tensor_slices((images, labels)).batch(5),
    ):
        found = nearest_images(queries, source, 7, batch_size=5)
        indices, distances = by_hand(queries, images, 7)
        np.testing.assert_array_equal(found.indices, indices)
        np.testing.assert_allclose(found.distances, distances, rtol=1e-12)
        np.testing.assert_array_equal(found.images, images[indices])
        assert found.images.dtype == np.uint8
    # The differences of uint8 would have wrapped around.
    assert found.distances[2].max() > 64


def test_latents(model, images):
    found = nearest_images(images[:2], images, 3, encode=model.encode, batch_size=10)
    z = model.encode(images).numpy()
    indices, distances = by_hand(z[:2], z, 3)
    np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, atol=1e-5)
    np.testing.assert_array_equal(found.images, images[indices])
    in_pixels, _ = by_hand(images[:2], images, 3)
    assert (indices != in_pixels).any()


def test_of_equal_distances_the_first_comes_first(images):
    twice = np.concatenate([images[:3]] * 2)
    found = nearest_images(images[1:2], twice, 2, batch_size=3)
    np.testing.assert_array_equal(found.indices, [[1, 4]])
    np.testing.assert_array_equal(found.distances, [[0, 0]])


def test_what_cannot_be_is_told(images):
    with pytest.raises(ValueError, match="at least 25 images.*Received: 24 images"):
        nearest_images(images[:1], images, 25)
    with pytest.raises(ValueError, match="`num_neighbors` must be"):
        nearest_images(images[:1], images, 0)
