"""`fit` goes on from a saved state as if it had never ended."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.callbacks.training_state import read_position

NUM_STEPS = 4
IMAGES = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 1], np.uint8)


class Copies(keras.callbacks.Callback):
    """Keeps the file as it is after some steps; may raise after the last of them."""

    def __init__(self, copies, *, interrupt):
        super().__init__()
        self.copies, self.interrupt = copies, interrupt

    def on_train_batch_end(self, batch, logs=None):
        num_steps = int(self.model.optimizer.iterations)
        if num_steps in self.copies:
            copy = self.copies[num_steps]
            shutil.copy(copy.with_name("state.npz"), copy)
        if self.interrupt and num_steps == max(self.copies):
            raise KeyboardInterrupt


class EndEarly(keras.callbacks.Callback):
    """Ends training in its second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training |= epoch == 1


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


class EndFirst(keras.callbacks.Callback):
    """Ends training before the last batch of the first epoch."""

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations == NUM_STEPS - 1:
            self.model.stop_training = True


@pytest.mark.parametrize("steps", [0, 1])
def test_an_end_that_another_callback_wants_is_one(interrupted, tmp_path, steps):
    """Also in an epoch that an earlier process began, which is cut."""
    if steps:
        shutil.copy(interrupted[steps], tmp_path / "state.npz")
    _, history = fit(tmp_path / "state.npz", EndFirst(), epochs=3)
    assert history.epoch == [0]


def test_a_training_that_does_not_begin_leaves_no_epoch_to_the_next(
    interrupted, tmp_path
):
    class Fail(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise OSError("no room")

    shutil.copy(interrupted[6], tmp_path / "state.npz")
    fail = Fail()
    with pytest.raises(OSError, match="no room"):
        fit(tmp_path / "state.npz", fail)
    assert fail.model.fit(IMAGES, epochs=2, verbose=0).epoch == [0, 1]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was not interrupted, and its file after 6 steps."""
    folder = tmp_path_factory.mktemp("whole")
    copies = {6: folder / "6.npz"}
    return fit(folder / "state.npz", Copies(copies, interrupt=False)), copies


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The files of one that saved at every step, after so many of them."""
    folder = tmp_path_factory.mktemp("interrupted")
    copies = {n: folder / f"{n}.npz" for n in (1, 6, 8)}
    with pytest.raises(KeyboardInterrupt):
        fit(folder / "state.npz", Copies(copies, interrupt=True), seconds=0.0)
    return copies


@pytest.mark.parametrize(
    ("num_steps", "seconds", "position"),
    [(6, None, (1, 0)), (6, 0.0, (1, 2)), (8, 0.0, (1, 3)), (1, 0.0, (0, 1))],
)
def test_goes_on_to_the_last_bit(
    whole, interrupted, tmp_path, num_steps, seconds, position
):
    (expected, history), copies = whole
    copies = copies if seconds is None else interrupted
    file = shutil.copy(copies[num_steps], tmp_path / "state.npz")
    assert read_position(file) == position
    found, rest = fit(file, seconds=seconds)
    epoch, _ = position
    assert rest.epoch == list(range(epoch, 4))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, values in history.history.items():
        assert rest.history[name] == values[epoch:]


def test_ends_early_where_another_callback_says_so(interrupted, tmp_path):
    file = shutil.copy(interrupted[6], tmp_path / "state.npz")
    _, history = fit(file, EndEarly(), seconds=0.0)
    assert history.epoch == [1]


def test_another_model_is_refused(interrupted, tmp_path):
    file = shutil.copy(interrupted[6], tmp_path / "state.npz")
    with pytest.raises(ValueError, match=r"another model.*4\] \(float32\) in it"):
        fit(file, hidden_channels=5)
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match="no state of a training, or is damaged"):
        fit(file)


def test_data_of_unknown_length(tmp_path):
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, seed=0)
    data = tf.data.Dataset.from_tensor_slices(IMAGES).filter(lambda image: True)
    data, file = data.batch(16), tmp_path / "state.npz"
    model.fit(data, epochs=2, callbacks=[tfg.TrainingState(file)], verbose=0)
    assert read_position(file) == (1, 0)
    state = tfg.TrainingState(file, seconds_between_saves=1.0)
    with pytest.raises(ValueError, match="batches of an epoch must be known"):
        model.fit(data, epochs=2, callbacks=[state], verbose=0)
    # One that has come further than it is to go does nothing, and only now.
    state = tfg.TrainingState(file)
    assert model.fit(data, epochs=1, callbacks=[state], verbose=0).epoch == []
    assert model.fit(data, epochs=1, verbose=0).epoch == [0]


class InterruptValidation(keras.callbacks.Callback):
    """Once, in the second epoch, as Ctrl-C does."""

    is_done = False

    def on_test_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 2 * NUM_STEPS and not self.is_done:
            self.is_done = True
            raise KeyboardInterrupt


def fit_swapping(model, *callbacks):
    """Weights, slots, averages and history of a `fit` that validates the average."""
    history = model.fit(
        IMAGES,
        batch_size=16,
        epochs=3,
        shuffle=False,
        validation_data=IMAGES,
        callbacks=list(callbacks),
        verbose=0,
    )
    variables = [*model.variables, *model.optimizer.variables]
    return [v.numpy() for v in variables], history


def averaging_model():
    model = tfg.GlowModel(
        [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4, seed=0
    )
    model.compile(tfg.Adamax(1e-2, use_ema=True, ema_momentum=0.9))
    return model


@pytest.fixture(scope="module")
def swapped():
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    return fit_swapping(averaging_model(), swap)


@pytest.mark.parametrize("is_first", [True, False])
def test_goes_on_with_weights_where_keras_swaps_in_the_average(
    swapped, tmp_path, is_first
):
    """With the same callbacks, one of which was stopped halfway, and with others."""
    expected, whole = swapped
    file = tmp_path / "state.npz"

    def callbacks():
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        both = [tfg.TrainingState(file), swap][:: 1 if is_first else -1]
        checkpoint = keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5", save_best_only=True, save_weights_only=True
        )
        return [*both, checkpoint, InterruptValidation()]

    model, same = averaging_model(), callbacks()
    with pytest.raises(KeyboardInterrupt):
        fit_swapping(model, *same)
    copy = shutil.copy(file, tmp_path / "copy.npz")
    assert read_position(copy) == (1, 0)
    for go_on in (
        lambda: fit_swapping(model, *same),
        lambda: fit_swapping(averaging_model(), *callbacks()[:-1]),
    ):
        shutil.copy(copy, file)
        found, rest = go_on()
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
        for name, values in whole.history.items():
            assert rest.history[name] == values[1:]


def test_a_file_that_is_not_gone_on_from_yet_stays(interrupted, tmp_path):
    """A signal may ask for a state before the first step, when there is a newer one."""
    file = shutil.copy(interrupted[6], tmp_path / "state.npz")
    before = file.read_bytes()
    state = tfg.TrainingState(file)

    class Save(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            state.save()
            raise KeyboardInterrupt

    model = averaging_model()
    with pytest.raises(KeyboardInterrupt):
        model.fit(IMAGES, epochs=4, callbacks=[state, Save()], verbose=0)
    assert file.read_bytes() == before


def test_a_folder_that_is_deleted_meanwhile_stays_so(tmp_path):
    folder = tmp_path / "new" / "run"

    class Delete(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            shutil.rmtree(folder)

    with pytest.raises(OSError, match="cannot be written.*its folder is gone.*renamed"):
        fit(folder / "state.npz", Delete())
    assert not folder.exists()
