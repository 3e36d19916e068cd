"""Directions of attributes, and steps along them."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.latents import (
    AttributeDirections,
    attribute_directions,
    manipulate,
    split_levels,
)

HAS = np.random.default_rng(2).random([24, 2]) < [0.3, 0.6]
CLASSES = np.r_[np.arange(22) % 2, 2, 2]


def by_two_passes(z: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Means of those that have each attribute, minus means of the others."""
    return np.stack([z[h].mean(axis=0) - z[~h].mean(axis=0) for h in has.T])


def directions(vectors) -> AttributeDirections:
    vectors = np.asarray(vectors, np.float32)
    names = tuple("abcdefg"[: len(vectors)])
    counts = np.arange(len(vectors))
    return AttributeDirections(names, vectors, counts + 3, counts + 5)


@pytest.fixture
def three() -> AttributeDirections:
    """Directions that are neither equally long nor at right angles."""
    rng = np.random.default_rng(3)
    return directions([[0.5], [3], [1]] * (rng.normal(size=[3, 10]) + 0.5))


def test_one_pass_over_batches_finds_what_two_passes_find(model, images):
    batches = tf.data.Dataset.from_tensor_slices((images, HAS)).batch(7)
    found = attribute_directions(model, batches, names=["dark", "round"])
    expected = by_two_passes(model.encode(images).numpy(), HAS)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(found["round"], found.vectors[1])
    np.testing.assert_array_equal(found.num_positives, HAS.sum(axis=0))
    np.testing.assert_array_equal(found.num_negatives, 24 - HAS.sum(axis=0))


@pytest.mark.parametrize(
    ("labels", "has"),
    [
        (HAS.astype(np.int32), HAS),
        (np.where(HAS, 1, -1), HAS),  # as CelebA has them
        (HAS[:, 0], HAS[:, :1]),
        (CLASSES, CLASSES[:, np.newaxis] == [0, 1, 2]),  # 2 is not in the first batches
        (CLASSES.astype(np.uint8), CLASSES[:, np.newaxis] == [0, 1, 2]),
    ],
    ids=["1 and 0", "1 and -1", "booleans", "classes", "classes of uint8"],
)
def test_labels_of_any_kind(model, images, labels, has):
    found = attribute_directions(model, images, labels, batch_size=5)
    assert found.names == tuple(map(str, range(has.shape[1])))
    expected = by_two_passes(model.encode(images).numpy(), has)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)
    np.testing.assert_array_equal(found.num_positives, has.sum(axis=0))


def test_classes_of_the_model_reach_encode(conditional, images):
    found = attribute_directions(conditional, images, HAS, classes=CLASSES)
    z = conditional.encode(images, CLASSES).numpy()
    np.testing.assert_allclose(found.vectors, by_two_passes(z, HAS), atol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices((images, HAS, CLASSES)).batch(8)
    of_batches = attribute_directions(conditional, batches)
    np.testing.assert_allclose(of_batches.vectors, found.vectors, atol=1e-5)
    of_classes = attribute_directions(conditional, images, CLASSES)
    expected = by_two_passes(z, CLASSES[:, np.newaxis] == [0, 1, 2])
    np.testing.assert_allclose(of_classes.vectors, expected, atol=1e-5)


def test_attributes_that_cannot_be_found_are_told(model, images):
    has_all = np.c_[HAS, np.ones(24, bool)]
    with pytest.raises(ValueError, match=r"24 images, all or none .* \['smiles'\]"):
        attribute_directions(model, images, has_all, names=["a", "b", "smiles"])
    with pytest.raises(ValueError, match="24 images and 23 labels"):
        attribute_directions(model, images, HAS[:23])
    with pytest.raises(ValueError, match="labels for 1 attributes.*Received.* 2"):
        attribute_directions(model, images, HAS, names=["a"])
    with pytest.raises(ValueError, match="labels for 2 attributes"):
        attribute_directions(
            model, [(images[:12], HAS[:12]), (images[12:], has_all[12:])]
        )
    with pytest.raises(ValueError, match="24 images, and labels of shape"):
        attribute_directions(model, [(images, HAS[:12])])
    with pytest.raises(ValueError, match="batches of .images, labels.*EagerTensor"):
        attribute_directions(model, tf.data.Dataset.from_tensor_slices(images))
    with pytest.raises(ValueError, match="dtype=float"):
        attribute_directions(model, images, HAS[:, 0].astype(float))


def test_normalized_directions_are_as_long_as_one_another(three):
    unit = three.normalized()
    np.testing.assert_allclose(np.linalg.norm(unit.vectors, axis=1), 1, rtol=1e-6)
    cosines = np.sum(unit.vectors * three.vectors, axis=1)
    np.testing.assert_allclose(
        cosines, np.linalg.norm(three.vectors, axis=1), rtol=1e-6
    )
    np.testing.assert_array_equal(unit.num_positives, three.num_positives)


def test_orthogonalized_directions_are_at_right_angles_and_the_nearest(three):
    found = three.orthogonalized().vectors.astype(np.float64)
    lengths = np.linalg.norm(three.vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(found @ found.T, np.diag(lengths**2), atol=1e-5)
    # Löwdin's formula: the inverse root of the cosines, times the unit vectors.
    unit = three.vectors / lengths[:, np.newaxis]
    values, vectors = np.linalg.eigh(unit @ unit.T)
    expected = vectors @ np.diag(values**-0.5) @ vectors.T @ unit
    np.testing.assert_allclose(found, lengths[:, np.newaxis] * expected, atol=1e-5)
    # The order of the attributes does not matter.
    swapped = three.select(["c", "a", "b"]).orthogonalized().vectors
    np.testing.assert_allclose(swapped[[1, 2, 0]], found, atol=1e-5)


@pytest.mark.parametrize(
    "vectors", [[[1, 0, 2], [2, 0, 4]], [[1, 0], [0, 1], [1, 2]]], ids=["same", "many"]
)
def test_directions_that_depend_on_one_another_cannot_be_orthogonalized(vectors):
    with pytest.raises(ValueError, match="Leave one out"):
        directions(vectors).orthogonalized()


@pytest.mark.parametrize("method", ["normalized", "orthogonalized"])
@pytest.mark.parametrize("value", [0, np.nan])
def test_directions_of_no_length_are_told(three, method, value):
    three.vectors[1] = value
    with pytest.raises(ValueError, match=rf"'b': {value:.1f}, .*Select the others"):
        getattr(three, method)()
    assert np.isfinite(getattr(three.select("ac"), method)().vectors).all()


def test_names_may_be_an_array(model, images):
    found = attribute_directions(model, images, HAS, names=np.array(["dark", "round"]))
    assert found.names == ("dark", "round")
    np.testing.assert_array_equal(found["round"], found.vectors[1])


def test_directions_are_selected_by_name(three):
    selected = three.select(["c", "a"])
    assert selected.names == ("c", "a")
    np.testing.assert_array_equal(selected.vectors, three.vectors[[2, 0]])
    np.testing.assert_array_equal(selected.num_positives, [5, 3])
    np.testing.assert_array_equal(selected.num_negatives, [7, 5])
    smiling = AttributeDirections(("Smiling",), *[np.zeros([1, 3])] * 3)
    with pytest.raises(KeyError, match="Did you mean 'Smiling'"):
        smiling["smilin"]


def test_saved_directions_come_back(three, tmp_path):
    file = tmp_path / "attributes.npz"
    three.save(file)
    loaded = AttributeDirections.load(file)
    assert loaded.names == three.names
    for name in ("vectors", "num_positives", "num_negatives"):
        found, expected = getattr(loaded, name), getattr(three, name)
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == expected.dtype
    with np.load(file) as arrays:  # which refuses pickles
        assert all(arrays[name].dtype != object for name in arrays.files)
    assert [child.name for child in tmp_path.iterdir()] == ["attributes.npz"]


def test_files_that_hold_no_directions_are_told(three, tmp_path):
    file = tmp_path / "attributes.npz"
    with pytest.raises(FileNotFoundError):
        AttributeDirections.load(file)
    three.save(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged"):
        AttributeDirections.load(file)
    np.savez(file, names=np.array([object()]), format_version=1)
    with pytest.raises(ValueError, match="holds no attribute directions"):
        AttributeDirections.load(file)
    np.savez(file, names=["a"], format_version=1)
    with pytest.raises(ValueError, match="holds no attribute directions"):
        AttributeDirections.load(file)
    np.savez(file, names=["a"], format_version=2)
    with pytest.raises(ValueError, match="Received: format_version=2"):
        AttributeDirections.load(file)
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        three.save(tmp_path / "attributes.npy")


def test_manipulate_adds_the_direction(model, images, decoded):
    direction = np.random.default_rng(4).normal(size=64)
    moved = manipulate(model, images[3], direction, [[-1.0, 0.0], [0.5, 1.0]])
    assert moved.dtype == tf.uint8
    assert moved.shape == (2, 2, 8, 8, 1)
    np.testing.assert_array_equal(moved[0, 1], images[3])
    z = model.encode(images[3:4]).numpy()
    expected = z + np.outer([-1, 0, 0.5, 1], direction)
    np.testing.assert_allclose(decoded.latents, expected, atol=1e-5)
    assert (moved[0, 0] != moved[1, 1]).numpy().any()


@pytest.mark.parametrize("level", [0, 1, -1])
def test_manipulate_of_a_level_leaves_the_others(model, images, decoded, level):
    direction = np.ones(64, np.float32)
    manipulate(model, images[0], direction, [2.0], levels=[level])
    before = split_levels(model, model.encode(images[:1]))
    after = split_levels(model, decoded.latents)
    for i in range(3):
        moved = after[i] - before[i]
        np.testing.assert_allclose(moved, 2.0 * (i == level % 3), atol=1e-5)
        assert i == level % 3 or (before[i] == after[i]).numpy().all()


def test_manipulate_with_a_class_or_a_context(conditional, with_context, images):
    direction = np.zeros(64)
    for arguments, model in (
        ({"label": 2}, conditional),
        ({"context": [0.5, -2.0]}, with_context),
    ):
        moved = manipulate(model, images[0], direction, [0.0, 1.0], **arguments)
        np.testing.assert_array_equal(moved, images[[0, 0]])


def test_direction_of_another_shape_is_told(model, images):
    with pytest.raises(ValueError, match=r"of shape \(64,\).*shape=\(1,\)"):
        manipulate(model, images[0], [1.0], [0.0])
