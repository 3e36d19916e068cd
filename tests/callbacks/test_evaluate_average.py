"""The average is validated, the weights beside it, and both stay what they were."""

import keras
import numpy as np
import pytest

import tfp_glow as tfg

IMAGES = np.random.default_rng(0).integers(0, 256, [64, 4, 4, 1], np.uint8)


def test_average_and_weights_are_validated():
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, seed=0)
    model.compile(tfg.Adamax(1e-2, use_ema=True, ema_momentum=0.9))
    start = model.get_weights()
    with tfg.averaged_weights(model):  # there is none yet, not even zeros
        for one, other in zip(model.get_weights(), start, strict=True):
            np.testing.assert_array_equal(one, other)
    raw, averaged = [], []

    class Look(tfg.EvaluateAverage):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            weights = self.model.get_weights()
            raw.append(self.model.evaluate(IMAGES, verbose=0, return_dict=True))
            with tfg.averaged_weights(self.model), tfg.averaged_weights(self.model):
                averaged.append(
                    self.model.evaluate(IMAGES, verbose=0, return_dict=True)
                )
            for one, other in zip(self.model.get_weights(), weights, strict=True):
                np.testing.assert_array_equal(one, other)

    history = model.fit(
        IMAGES, epochs=3, validation_data=IMAGES, callbacks=[Look(IMAGES)], verbose=0
    ).history
    assert history["val_bits_per_dim"] == [v["bits_per_dim"] for v in averaged]
    assert history["val_bits_per_dim_raw"] == [v["bits_per_dim"] for v in raw]
    assert history["val_bits_per_dim"] != history["val_bits_per_dim_raw"]
    # Keras leaves the average of the last epoch in the model.
    final = model.evaluate(IMAGES, verbose=0, return_dict=True)["bits_per_dim"]
    assert final == history["val_bits_per_dim"][-1]


def test_weights_come_back_where_validation_is_interrupted():
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, seed=0)
    model.compile(tfg.Adamax(1e-2, use_ema=True, ema_momentum=0.9))
    weights = []

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            weights[:] = self.model.get_weights()

        def on_train_batch_end(self, batch, logs=None):
            weights[:] = self.model.get_weights()

        def on_test_batch_end(self, batch, logs=None):
            assert any(
                np.any(one != other)
                for one, other in zip(self.model.get_weights(), weights, strict=True)
            )
            raise KeyboardInterrupt

    callback = tfg.EvaluateAverage()
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            IMAGES,
            validation_data=IMAGES,
            callbacks=[callback, Interrupt()],
            verbose=0,
        )
    assert len(weights) > 10
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)


def small_model() -> tfg.GlowModel:
    return tfg.GlowModel(
        [4, 4, 1], num_levels=1, num_steps=1, hidden_channels=8, seed=0
    )


def test_keras_s_callback_lets_others_keep_the_average(tmp_path):
    model = small_model()
    model.compile(tfg.Adamax(0.1, use_ema=True, ema_momentum=0.8))
    file = tmp_path / "best.keras"
    callbacks = [
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keras.callbacks.ModelCheckpoint(file, save_best_only=True),
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True),
    ]
    history = model.fit(
        IMAGES, epochs=8, validation_data=IMAGES, callbacks=callbacks, verbose=0
    ).history
    best = min(history["val_bits_per_dim"])
    assert best < history["val_bits_per_dim"][-1]
    for kept in (model, keras.models.load_model(file)):
        found = kept.evaluate(IMAGES, verbose=0, return_dict=True)["bits_per_dim"]
        np.testing.assert_allclose(found, best, rtol=1e-4)


def test_average_of_an_optimizer_that_scales_the_loss():
    model = small_model()
    inner = tfg.Adamax(1e-2, use_ema=True, ema_momentum=0.9)
    model.compile(keras.optimizers.LossScaleOptimizer(inner))
    history = model.fit(
        IMAGES,
        epochs=3,
        validation_data=IMAGES,
        callbacks=[tfg.EvaluateAverage(IMAGES)],
        verbose=0,
    ).history
    assert history["val_bits_per_dim"] != history["val_bits_per_dim_raw"]
    final = model.evaluate(IMAGES, verbose=0, return_dict=True)["bits_per_dim"]
    assert final == history["val_bits_per_dim"][-1]
