"""`random_shift` moves what it says, as often as it says."""

import numpy as np
import tensorflow as tf

from tfp_glow.data.augmentation import random_shift

# A cross of distinct values in the middle, so that a shift is recognised.
IMAGE = np.zeros([7, 5, 1], np.uint8)
IMAGE[2:5, 1:4, 0] = np.arange(1, 10).reshape(3, 3)


def shifts(images: np.ndarray) -> list[tuple[int, int]]:
    """How far each image was moved: where the value 5 is, against (3, 2)."""
    found = []
    for image in images:
        row, column = np.argwhere(image[..., 0] == 5)[0] - [3, 2]
        np.testing.assert_array_equal(image, np.roll(IMAGE, (row, column), axis=(0, 1)))
        found.append((int(row), int(column)))
    return found


def test_half_stay_and_the_others_move_anywhere():
    batches = tf.data.Dataset.from_tensors(np.stack([IMAGE] * 2000))
    moved = shifts(next(iter(random_shift(batches, 1))).numpy())
    counts = {shift: moved.count(shift) for shift in set(moved)}
    assert set(counts) == {(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    stay = counts.pop((0, 0)) / 2000
    assert abs(stay - (1 / 2 + 1 / 18)) < 0.05
    assert all(abs(n / 2000 - 1 / 18) < 0.03 for n in counts.values())


def test_every_epoch_draws_anew_and_repeatably():
    batches = tf.data.Dataset.from_tensor_slices(np.stack([IMAGE] * 64)).batch(32)
    labelled = tf.data.Dataset.zip(batches, tf.data.Dataset.range(2))

    def epochs() -> list[list[tuple[int, int]]]:
        dataset = random_shift(labelled, 1, seed=3)
        return [
            [s for images, _ in dataset for s in shifts(images.numpy())]
            for _ in range(2)
        ]

    tf.random.set_seed(0)
    first = epochs()
    tf.random.set_seed(0)
    assert epochs() == first
    assert first[0] != first[1]
    assert first[0][:32] != first[0][32:]
