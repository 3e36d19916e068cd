"""Which weights are validated, kept and trained on, and when they are written."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfp_glow import GlowModel, data
from tfp_glow.cli.history import History
from tfp_glow.cli.recipe import KeepBest, fit_best, make_optimizer
from tfp_glow.presets import Preset

SETTINGS = Preset("for tests", epochs=3, learning_rate=1e-2, ema_momentum=0.8)
NUM_STEPS = 4
PATHS = ["model.keras", "history.csv", "logs", "state.npz"]


def tiny_model():
    return GlowModel(
        [8, 8, 1], num_bits=4, num_levels=1, num_steps=1, hidden_channels=4, seed=0
    )


class Recorder(keras.callbacks.Callback):
    """Computes the moving average once more; interrupts the end of an epoch."""

    def __init__(self, interrupted_epoch):
        super().__init__()
        self.interrupted_epoch = interrupted_epoch
        self.averages = []  # of each epoch
        self.steps = 0

    def weights(self):
        return [w.numpy() for w in self.model.trainable_variables]

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            for now, before in zip(self.weights(), self.raw, strict=True):
                np.testing.assert_allclose(now, before, atol=1e-6)

    def on_train_batch_end(self, batch, logs=None):
        self.raw = self.weights()
        momentum = SETTINGS.ema_momentum if self.steps else 0.0
        old = self.average if self.steps else self.raw
        self.average = [
            momentum * a + (1 - momentum) * w
            for a, w in zip(old, self.raw, strict=True)
        ]
        self.steps += 1

    def on_epoch_end(self, epoch, logs=None):
        self.averages.append(self.average)
        if epoch == self.interrupted_epoch:
            raise KeyboardInterrupt


@pytest.fixture
def batches():
    images, _ = data.load_arrays("digits", "train", limit=32 * NUM_STEPS)
    dataset = tf.data.Dataset.from_tensor_slices(images).batch(32).repeat()
    return dataset, data.load("digits", "validation", batch_size=100)


@pytest.fixture
def train(tmp_path, monkeypatch, batches):
    """Trains a tiny model; returns what `fit_best` does, and the recorder."""
    fit = GlowModel.fit

    def train(settings=SETTINGS, interrupted_epoch=None):
        recorder = Recorder(interrupted_epoch)

        def fit_and_record(model, *args, callbacks, **kwargs):
            callbacks = [*callbacks, recorder]
            return fit(model, *args, callbacks=callbacks, **kwargs)

        monkeypatch.setattr(GlowModel, "fit", fit_and_record)
        model = tiny_model()
        try:
            fitted = fit_best(
                model, *batches, settings, tmp_path, steps_per_epoch=NUM_STEPS
            )
        except KeyboardInterrupt:
            return None, None, recorder
        return fitted.best, fitted.history, recorder

    return train


def assert_weights(model, expected):
    for weights, values in zip(model.trainable_variables, expected, strict=True):
        np.testing.assert_allclose(weights.numpy(), values, atol=1e-5)


def test_keeps_the_average_of_the_best_epoch(train, tmp_path, batches):
    best, history, recorder = train()
    bits = history["val_bits_per_dim"]
    assert best.best_epoch == 1 + np.argmin(bits)
    assert best.best_bits_per_dim == min(bits)
    assert_weights(best.model_of_best, recorder.averages[best.best_epoch - 1])
    # The test means something: the average is not where the weights are.
    gaps = zip(recorder.average, recorder.raw, strict=True)
    assert max(np.abs(average - raw).max() for average, raw in gaps) > 1e-3
    kept = best.model_of_best.evaluate(batches[1], return_dict=True, verbose=0)
    assert kept["bits_per_dim"] == pytest.approx(min(bits), abs=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PATHS)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_weights(loaded, [w.numpy() for w in best.model_of_best.trainable_variables])
    assert not loaded.compiled


def test_keeps_and_writes_the_best_of_all_epochs(tmp_path):
    file = tmp_path / "model.keras"
    best = KeepBest(file)
    best.set_model(tiny_model())
    best.model.stop_training = False  # as `fit` does

    def end_of_epoch(epoch, bits):
        for variable in best.model.trainable_variables:
            variable.assign(tf.fill(variable.shape, float(epoch)))
        best.on_epoch_end(epoch, {"val_bits_per_dim": bits})

    def values(model):
        return {float(v) for w in model.trainable_variables for v in np.ravel(w)}

    end_of_epoch(0, 3.0)
    assert values(keras.models.load_model(file)) == {0.0}
    end_of_epoch(1, 2.0)
    end_of_epoch(2, 2.5)
    assert best.best_epoch == 2
    assert best.best_bits_per_dim == 2.0
    assert values(best.model_of_best) == {1.0}
    assert values(keras.models.load_model(file)) == {0.0}  # no minute has passed
    best.save()
    assert values(keras.models.load_model(file)) == {1.0}
    assert not best.model.stop_training
    end_of_epoch(3, np.nan)
    assert best.model.stop_training
    assert best.best_epoch == 2


def test_interrupted_training_loses_no_epoch(train, tmp_path):
    _, _, recorder = train(interrupted_epoch=1)
    assert len(recorder.averages) == 2
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_weights(loaded, recorder.averages[1])


def test_training_that_diverges(train, tmp_path):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30, guard=False)
    with pytest.raises(ValueError, match="Training diverged.*Lower --learning-rate"):
        train(settings)
    assert not (tmp_path / "model.keras").exists()


def test_training_that_a_guard_keeps_from_diverging(train, capsys):
    settings = dataclasses.replace(SETTINGS, learning_rate=1e30)
    best, history, _ = train(settings)
    assert history["num_rollbacks"] == [1, 2, 3]
    assert np.isfinite(best.best_bits_per_dim)
    assert "First to go was level 0, step 0" in capsys.readouterr().out


@pytest.mark.parametrize(("warmup_steps", "peak"), [(0, 0), (10, 10), (1000, 50)])
def test_learning_rate_rises_and_falls(warmup_steps, peak):
    settings = dataclasses.replace(SETTINGS, warmup_steps=warmup_steps)
    optimizer = make_optimizer(settings, total_steps=100)
    rates = []
    for step in range(101):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    assert np.argmax(rates) == peak
    assert rates[peak] == pytest.approx(settings.learning_rate)
    assert rates[0] == pytest.approx(0.0 if peak else settings.learning_rate)
    assert rates[-1] == pytest.approx(0.0, abs=1e-8)
    assert rates[-2] > 0


def test_constant_learning_rate_rises_and_stays():
    settings = dataclasses.replace(SETTINGS, warmup_steps=10, decay="constant")
    optimizer = make_optimizer(settings, total_steps=100)
    rates = []
    for step in (0, 5, 10, 50, 99):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate) / settings.learning_rate)
    np.testing.assert_allclose(rates, [0, 0.5, 1, 1, 1], atol=1e-6)


def test_the_time_that_is_left_counts_no_graphs(tmp_path, monkeypatch, capsys):
    """The first step ends after 100 s, the epoch 10 s later: two more take 20 s."""
    history = History(tmp_path / "history.csv", batch_size=1)
    history.set_model(SimpleNamespace(optimizer=SimpleNamespace(learning_rate=1.0)))
    history.set_params({"epochs": 3})
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    history.on_train_begin()
    history.on_epoch_begin(0)
    for clock.now in (100.0, 110.0):
        history.on_train_batch_end(0)
    logs = {"bits_per_dim": 1.0, "val_bits_per_dim": 1.0, "gradient_norm": 1.0}
    history.on_epoch_end(0, logs)
    assert capsys.readouterr().out.endswith(", 0:00:20 left\n")
