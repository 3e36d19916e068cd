"""What `fit` is given besides x: it is looked at before the first step."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg

tfb = tfp.bijectors
tfd = tfp.distributions

IMAGES = np.random.default_rng(0).integers(0, 256, [16, 4, 4, 1], np.uint8)
ONES = np.ones(16, np.float32)
SMALL = {"num_levels": 1, "num_steps": 1, "hidden_channels": 4, "seed": 0}


class Never(keras.callbacks.Callback):
    """Stands for a training that must not begin."""

    def on_train_begin(self, logs=None):
        raise AssertionError("training began")


def flow_model() -> tfg.FlowModel:
    shift = tfb.Shift(tf.Variable(tf.zeros([3]), name="shift"))
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [3])
    return tfg.FlowModel(tfd.TransformedDistribution(base, shift))


@pytest.fixture(scope="module")
def model() -> tfg.GlowModel:
    return tfg.GlowModel([4, 4, 1], **SMALL)


@pytest.fixture(scope="module")
def classifying() -> tfg.GlowModel:
    return tfg.GlowModel([4, 4, 1], num_classes=2, weight_y=0.1, **SMALL)


def batches(*arrays: np.ndarray) -> tf.data.Dataset:
    arrays = arrays if len(arrays) > 1 else arrays[0]
    return tf.data.Dataset.from_tensor_slices(arrays).batch(8)


FLOAT = IMAGES.astype("float32")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ((IMAGES, None, ONES), ValueError, "Received: sample_weight without y"),
        (batches(FLOAT), TypeError, "must be uint8.*Received: dtype=float32"),
        (batches(IMAGES).unbatch(), ValueError, r"Received: shape=\(4, 4, 1\)"),
        (batches(IMAGES, ONES), ValueError, "takes no labels. Received: labels"),
    ],
    ids=["weights", "type", "shape", "labels"],
)
def test_validation_data_that_cannot_be_used(model, data, error, message):
    with pytest.raises(error, match=message):
        model.fit(IMAGES, validation_data=data, callbacks=[Never()], verbose=0)
    with pytest.raises(error, match=message):  # by its position
        model.fit(IMAGES, None, 8, 1, 0, [Never()], 0.0, data)


def test_labels_of_a_data_set_that_is_validated_on(classifying):
    labels = np.arange(16) % 2
    with pytest.raises(ValueError, match="must be integers of shape.*dtype=float32"):
        classifying.fit(
            IMAGES,
            labels,
            validation_data=batches(IMAGES, ONES),
            callbacks=[Never()],
            verbose=0,
        )


@pytest.mark.parametrize("as_data_set", [True, False])
def test_targets_that_a_flow_has_no_use_for(as_data_set):
    x = np.ones([16, 3], np.float32)
    data = batches(x, x) if as_data_set else (x, x)
    with pytest.raises(ValueError, match="trains on x alone. Received: targets"):
        flow_model().fit(x, validation_data=data, callbacks=[Never()], verbose=0)


def test_arguments_by_their_positions():
    x, model = np.ones([16, 3], np.float32), flow_model()
    history = model.fit(x, None, 8, 3, 0, None, 0.0, x, False, None, None, 1)
    assert history.epoch == [1, 2]
    assert "val_loss" in history.history
    with pytest.raises(ValueError, match="Received: sample_weight without y"):
        model.fit(x, None, 8, 1, 0, None, 0.0, None, False, None, np.ones(16))
    with pytest.raises(TypeError, match="multiple values for argument 'epochs'"):
        model.fit(x, None, 8, 3, epochs=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        model.fit(x, epoch=3)


def test_callbacks_need_no_mode_for_figures_of_ours(classifying, tmp_path):
    file = tmp_path / "best.keras"
    early = keras.callbacks.EarlyStopping("val_bits_per_dim", patience=5)
    plateau = keras.callbacks.ReduceLROnPlateau("bits_per_dim")
    best = keras.callbacks.ModelCheckpoint(file, "val_label_bits", save_best_only=True)
    largest = keras.callbacks.EarlyStopping("gradient_norm", patience=5, mode="max")
    others = keras.callbacks.CallbackList([plateau, [largest]])
    labels = np.arange(16) % 2
    history = classifying.fit(
        IMAGES,
        labels,
        epochs=2,
        validation_data=(IMAGES, labels),
        callbacks=[[early, best], tfg.EvaluateAverage(IMAGES, labels), others],
        verbose=0,
    ).history
    assert early.best == min(history["val_bits_per_dim"])
    assert best.best == min(history["val_label_bits"])
    assert file.exists()
    assert [c.mode for c in (early, plateau, best, largest)] == 3 * ["min"] + ["max"]
    assert classifying.running_callbacks == ()


def test_callbacks_of_a_list_of_keras_s_need_none_either():
    x, model = np.ones([16, 3], np.float32), flow_model()
    early = keras.callbacks.EarlyStopping("gradient_norm", patience=5)
    callbacks = keras.callbacks.CallbackList([early], add_history=True, model=model)
    history = model.fit(x, callbacks=callbacks, verbose=0).history
    assert early.best == min(history["gradient_norm"])


def test_a_model_that_is_mixed_with_another_fits_as_before():
    class Timed(keras.Model):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **kwargs)

    class Mixed(tfg.GlowModel, Timed):
        pass

    model = Mixed([4, 4, 1], **SMALL)
    assert len(model.fit(IMAGES, epochs=2, verbose=0).history["loss"]) == 2
    with pytest.raises(ValueError, match="sample_weight"):
        model.fit(
            IMAGES, validation_data=(IMAGES, None, ONES), callbacks=[Never()], verbose=0
        )
