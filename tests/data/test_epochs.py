"""The order of an epoch hangs on seed and epoch alone."""

import numpy as np
import tensorflow as tf
from PIL import Image

from tfp_glow.data import endless_epochs, load, random_flip, random_shift

TEN = tf.data.Dataset.range(10)
OPTIONS = {"batch_size": 3, "num_batches": 3}


def batches(num: int, **options) -> list[list[int]]:
    dataset = endless_epochs(TEN, **OPTIONS | options)
    return [batch.numpy().tolist() for batch in dataset.take(num)]


def test_goes_on_from_any_batch_under_any_global_seed():
    whole = batches(12)
    for first in range(12):
        tf.random.set_seed(first)
        assert batches(12 - first, first_batch=first) == whole[first:]
    # An epoch has no example twice, and no two epochs are alike.
    epochs = [sum(whole[i : i + 3], []) for i in range(0, 12, 3)]
    assert all(len(set(epoch)) == 9 for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 4
    assert batches(12, seed=1) != whole


def test_changes_no_other_seed():
    tf.random.set_seed(7)
    expected = float(tf.random.uniform([]))
    tf.random.set_seed(7)
    batches(2)
    assert float(tf.random.uniform([])) == expected


def test_examples_come_again_where_there_are_too_few():
    assert [len(b) for b in batches(8, num_batches=4)] == [3, 3, 3, 1] * 2
    assert [len(b) for b in batches(5, num_batches=5)] == [3, 3, 3, 1, 3]


def test_augmentation_of_a_batch_hangs_on_its_number_alone():
    images = tf.data.Dataset.from_tensors(np.arange(200, dtype=np.uint8))
    images = images.map(lambda x: tf.reshape(x, [8, 5, 5, 1])).repeat()

    def augmented(first_batch: int) -> np.ndarray:
        moved = random_shift(images, 1, seed=3, first_batch=first_batch)
        flipped = random_flip(moved, seed=3, first_batch=first_batch)
        return np.stack(list(flipped.take(6).as_numpy_iterator()))

    first = augmented(0)
    np.testing.assert_array_equal(augmented(2)[:4], first[2:])
    np.testing.assert_array_equal(augmented(0), first)
    assert len({batch.tobytes() for batch in first}) == 6


def test_random_crops_of_an_epoch_hang_on_its_number(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        pixels = rng.integers(0, 256, [24, 24, 3], np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")

    def examples_of(epoch: tf.Tensor) -> tf.data.Dataset:
        name = f"folder:{tmp_path}"
        return load(name, "train", seed=epoch + 5, image_size=8, crop="random")

    def crops(first_batch: int, num: int) -> np.ndarray:
        dataset = endless_epochs(examples_of, **OPTIONS, first_batch=first_batch)
        return np.stack(list(dataset.take(num).as_numpy_iterator()))

    whole = crops(0, 6)
    np.testing.assert_array_equal(crops(2, 4), whole[2:])
    first, second = (
        {image.tobytes() for image in np.concatenate(whole[i : i + 2])} for i in (0, 3)
    )
    assert not first & second
