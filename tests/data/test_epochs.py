"""The order of an epoch hangs on seed and epoch alone."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfp_glow.data import endless_epochs, load, random_flip, random_shift
from tfp_glow.data.epochs import decoded_once

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


@pytest.mark.parametrize("is_function", [False, True])
def test_an_epoch_without_examples_is_an_error(is_function):
    empty = TEN.filter(lambda number: number > 9)
    dataset = endless_epochs((lambda _: empty) if is_function else empty, **OPTIONS)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at least one example"):
        next(iter(dataset))


@pytest.mark.parametrize(("side", "has_room"), [(8, True), (2**14, False)])
def test_what_there_is_room_for_is_read_once(side, has_room):
    read = []

    def note(number: np.ndarray) -> np.ndarray:
        read.append(int(number))
        return number

    noted = TEN.map(lambda n: tf.numpy_function(note, [n], tf.int64, stateful=False))
    examples = decoded_once(noted, 10, [side, side, 1])
    assert sorted(read) == list(range(10)) * has_room  # several at a time
    for _ in range(2):  # A part of it comes from memory too.
        assert int(next(iter(examples.take(1)))) == 0
    dataset = endless_epochs(examples, **OPTIONS | {"buffer_size": 2})
    found = [batch.numpy().tolist() for batch in dataset.take(6)]
    assert found == batches(6, buffer_size=2)
    assert (len(read) == 10) == has_room


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
