"""`fit` goes on from a saved state as if it had never ended."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.callbacks.training_state import read_position

NUM_STEPS = 4
IMAGES = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 1], np.uint8)


class Interrupt(keras.callbacks.Callback):
    """Raises after some steps; ends training early in another epoch."""

    def __init__(self, num_steps=None, last_epoch=None):
        super().__init__()
        self.num_steps, self.last_epoch = num_steps, last_epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.num_steps == int(self.model.optimizer.iterations):
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= epoch == self.last_epoch


def fit(file, *callbacks, epochs=4, seconds=None, hidden_channels=4):
    model = tfg.GlowModel(
        [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=hidden_channels, seed=0
    )
    model.compile(tfg.Adamax(1e-2, use_ema=True))
    state = tfg.TrainingState(file, seconds_between_saves=seconds)
    epoch, batch = read_position(file)
    data = tfg.data.endless_epochs(
        tf.data.Dataset.from_tensor_slices(IMAGES),
        batch_size=16,
        num_batches=NUM_STEPS,
        first_batch=epoch * NUM_STEPS + batch,
    )
    options = {"epochs": epochs, "steps_per_epoch": NUM_STEPS, "verbose": 0}
    history = model.fit(
        data, validation_data=IMAGES, callbacks=[state, *callbacks], **options
    )
    variables = [*model.variables, *model.optimizer.variables]
    return [v.numpy() for v in variables], history


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole") / "state.npz")


@pytest.mark.parametrize(
    ("num_steps", "seconds", "position"),
    [(6, None, (1, 0)), (6, 0.0, (1, 2)), (8, 0.0, (1, 3)), (1, 0.0, (0, 1))],
)
def test_goes_on_to_the_last_bit(uninterrupted, tmp_path, num_steps, seconds, position):
    expected, whole = uninterrupted
    file = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(file, Interrupt(num_steps), seconds=seconds)
    assert read_position(file) == position
    found, rest = fit(file, seconds=seconds)
    epoch, _ = position
    assert rest.epoch == list(range(epoch, 4))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in whole.history.items():
        assert rest.history[name] == values[epoch:]


def test_ends_early_where_another_callback_says_so(tmp_path):
    file = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        fit(file, Interrupt(6), seconds=0.0)
    _, history = fit(file, Interrupt(last_epoch=1), seconds=0.0)
    assert history.epoch == [1]


def test_another_model_is_refused(tmp_path):
    file = tmp_path / "state.npz"
    fit(file, epochs=1)
    with pytest.raises(ValueError, match=r"another model.*4\] \(float32\) in it"):
        fit(file, hidden_channels=5)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no state of a training, or is damaged"):
        fit(file)
