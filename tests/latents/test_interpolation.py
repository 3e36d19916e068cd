"""From one image to another."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.latents import (
    blend,
    interpolate,
    interpolate_grid,
    interpolate_path,
    slerp,
)


def slerp_by_hand(a: np.ndarray, b: np.ndarray, w: float) -> np.ndarray:
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    omega = np.arccos(cosine)
    return (np.sin((1 - w) * omega) * a + np.sin(w * omega) * b) / np.sin(omega)


@pytest.mark.parametrize("w", [0.0, 0.2, 0.5, 1.0])
def test_slerp_is_its_formula(w):
    a, b = np.random.default_rng(0).normal(size=[2, 5, 7]) * [[[2.0]], [[0.3]]]
    expected = [slerp_by_hand(*pair, w) for pair in zip(a, b, strict=True)]
    found = slerp(a, b, tf.fill([5], tf.constant(w, tf.float64)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "dtype"), [("float64", "float32", "float64"), ("float32", "int64", None)]
)
def test_slerp_is_of_the_first_type(a, b, dtype):
    found = slerp(np.array([1, 0], a), np.array([0, 1], b), 0.5)
    assert found.dtype == (dtype or "float32")
    np.testing.assert_allclose(found, [0.5**0.5] * 2, rtol=1e-6)


def test_slerp_keeps_the_length():
    a, b = np.random.default_rng(0).normal(size=[2, 100])
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    path = slerp(a, b, np.linspace(0, 1, 9))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1, rtol=1e-12)
    # In equal steps: each number makes the same angle with the next.
    angles = np.arccos(np.sum(path[:-1] * path[1:], axis=1))
    np.testing.assert_allclose(angles, angles[0], rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, -3.0])
def test_slerp_is_linear_where_there_is_no_one_arc(factor, dtype):
    # Of rounded numbers: an arc cosine in float32 takes some of these for no opposites.
    a = np.random.default_rng(0).normal(size=[20, 64]).astype(dtype)
    found = slerp(a[:, np.newaxis], factor * a[:, np.newaxis], [0.0, 0.25, 1.0])
    expected = np.multiply.outer([1, 0.75 + 0.25 * factor, factor], a).swapaxes(0, 1)
    np.testing.assert_allclose(found, expected, atol=50 * np.finfo(dtype).eps)


def test_blend_decodes_the_linear_formula(model, images, decoded):
    z_a, z_b = model.encode(images[:2]).numpy()
    blended = blend(model, *images[:2], [[0.0, 0.3], [0.5, 1.0]])
    assert blended.shape == (2, 2, 8, 8, 1)
    expected = [(1 - w) * z_a + w * z_b for w in (0, 0.3, 0.5, 1)]
    np.testing.assert_allclose(decoded.latents, expected, atol=1e-6)
    shown = model.decode(decoded.latents)
    np.testing.assert_array_equal(tf.reshape(blended, shown.shape), shown)


def test_blend_decodes_the_spherical_formula(model, images, decoded):
    z = model.encode(images[:2]).numpy()
    assert blend(model, *images[:2], 0.3, method="spherical").shape == (8, 8, 1)
    expected = slerp_by_hand(*z.astype(np.float64), 0.3)
    np.testing.assert_allclose(decoded.latents, [expected], atol=1e-5)


@pytest.mark.parametrize(("level", "first", "last"), [(0, 0, 32), (-1, 48, 64)])
def test_blend_of_a_level_leaves_the_others(model, images, decoded, level, first, last):
    z_a, z_b = model.encode(images[:2]).numpy()
    blend(model, *images[:2], [0.25, 1.0], levels=[level])
    expected = np.stack([z_a, z_a])
    expected[:, first:last] += [[0.25], [1.0]] * (z_b - z_a)[first:last]
    np.testing.assert_allclose(decoded.latents, expected, atol=1e-6)
    outside = np.r_[0:first, last:64]
    np.testing.assert_array_equal(decoded.latents[:, outside], [z_a[outside]] * 2)


@pytest.mark.parametrize(("level", "first", "last"), [(0, 0, 32), (-1, 48, 64)])
def test_arc_of_a_level_is_that_of_its_part(model, images, decoded, level, first, last):
    z_a, z_b = model.encode(images[:2]).numpy()
    blend(model, *images[:2], [0.25, 0.5], method="spherical", levels=[level])
    expected = np.stack([z_a, z_a])
    a, b = z_a[first:last], z_b[first:last]
    omega = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    for row, w in zip(expected, [0.25, 0.5], strict=True):
        row[first:last] = (np.sin((1 - w) * omega) * a + np.sin(w * omega) * b) / (
            np.sin(omega)
        )
    np.testing.assert_allclose(decoded.latents, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_interpolate_begins_and_ends_at_the_images(model, images, method):
    between = interpolate(model, *images[:2], 5, method=method)
    assert between.dtype == tf.uint8
    assert between.shape == (5, 8, 8, 1)
    np.testing.assert_array_equal(between[0], images[0])
    np.testing.assert_array_equal(between[-1], images[1])
    middle = blend(model, *images[:2], 0.5, method=method)
    np.testing.assert_allclose(between[2], np.int32(middle), atol=1)
    assert (between[2] != images[0]).numpy().any()


def test_each_end_is_decoded_with_its_label(conditional, images, decoded_by_class):
    between = interpolate(conditional, *images[:2], 5, labels=[2, 0])
    np.testing.assert_array_equal(decoded_by_class.labels, [2, 2, 2, 0, 0])
    np.testing.assert_array_equal(between[0], images[0])
    np.testing.assert_array_equal(between[-1], images[1])
    z = conditional.encode(images[:2], [2, 0]).numpy()
    np.testing.assert_allclose(decoded_by_class.latents, np.linspace(*z, 5), atol=1e-5)
    interpolate(conditional, *images[:2], 5, labels=1)
    np.testing.assert_array_equal(decoded_by_class.labels, [1] * 5)
    # The label's prior is that of the last level, which stays that of the first image.
    blend(conditional, *images[:2], 1.0, labels=[2, 0], levels=[0, 1])
    np.testing.assert_array_equal(decoded_by_class.labels, [2])


def test_each_end_is_decoded_with_its_context(with_context, images):
    contexts = tf.constant([[0.0, 1.0], [2.0, -1.0]])
    between = interpolate(with_context, *images[:2], 3, context=contexts)
    np.testing.assert_array_equal(between[0], images[0])
    np.testing.assert_array_equal(between[-1], images[1])
    for_both = interpolate(with_context, *images[:2], 3, context=contexts[1])
    np.testing.assert_array_equal(for_both[0], images[0])
    assert (for_both[1] != between[1]).numpy().any()


def test_path_goes_through_all_images(conditional, images, decoded_by_class):
    labels = [2, 0, 1]
    path = interpolate_path(conditional, images[:3], 4, labels=labels)
    assert path.shape == (7, 8, 8, 1)
    np.testing.assert_array_equal(path[::3], images[:3])
    part = interpolate(conditional, images[1], images[2], 4, labels=[0, 1])
    np.testing.assert_array_equal(path[3:], part)


def test_path_of_a_method(model, images):
    path = interpolate_path(model, images[:3], 3, method="spherical")
    part = interpolate(model, images[1], images[2], 3, method="spherical")
    np.testing.assert_array_equal(path[2:], part)
    linear = interpolate(model, images[1], images[2], 3)
    assert (linear != part).numpy().any()


def test_grid_has_the_corners_and_what_is_between(
    conditional, images, decoded_by_class
):
    labels = [0, 1, 2, 0]
    grid = interpolate_grid(conditional, images[:4], 3, labels=labels)
    assert grid.shape == (3, 3, 8, 8, 1)
    corners = [grid[0, 0], grid[0, 2], grid[2, 0], grid[2, 2]]
    np.testing.assert_array_equal(corners, images[:4])
    np.testing.assert_array_equal(
        decoded_by_class.labels.reshape(3, 3), [[0, 0, 1], [0, 0, 1], [2, 2, 0]]
    )
    z = conditional.encode(images[:4], labels).numpy()
    found = decoded_by_class.latents.reshape(3, 3, 64)
    np.testing.assert_allclose(found[1, 1], z.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found[0, 1], z[:2].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found[1, 0], z[[0, 2]].mean(axis=0), atol=1e-5)


def test_spherical_grid_goes_along_rows_first(model, images, decoded):
    z = model.encode(images[:4]).numpy().astype(np.float64)
    interpolate_grid(model, images[:4], 3, method="spherical")
    rows = [slerp_by_hand(z[i], z[i + 1], 0.5) for i in (0, 2)]
    expected = slerp_by_hand(*rows, 0.5)
    np.testing.assert_allclose(decoded.latents[4], expected, atol=1e-5)


def test_what_cannot_be_is_told(model, images):
    a, b = images[:2]
    with pytest.raises(ValueError, match="Did you mean 'spherical'"):
        interpolate(model, a, b, 3, method="sperical")
    with pytest.raises(ValueError, match="counts both ends. Received: steps=1"):
        interpolate(model, a, b, 1)
    with pytest.raises(ValueError, match="four images. Received: 3"):
        interpolate_grid(model, images[:3])
    with pytest.raises(ValueError, match="at least two images. Received: 1"):
        interpolate_path(model, images[:1])
    with pytest.raises(ValueError, match="has 3 levels"):
        interpolate(model, a, b, 3, levels=[3])
