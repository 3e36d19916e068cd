"""Steps that would ruin a model are skipped, and weights that are ruined go back."""

import functools
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg
from tfp_glow.callbacks.divergence_guard import ScaledSchedule, TrainingDiverged
from tfp_glow.step_guard import StepGuard

tfb = tfp.bijectors
tfd = tfp.distributions

BATCHES = np.random.default_rng(0).normal(2.0, 3.0, [6, 16, 4]).astype("float32")


def flow_model() -> tfg.FlowModel:
    flow = tfb.Chain(
        [
            tfg.ActNormBijector(4),
            tfg.LUInvertibleConv(4, seed=0),
            tfb.Scale(tf.Variable(tf.ones([4]), name="scale")),
        ]
    )
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    return tfg.FlowModel(tfd.TransformedDistribution(base, flow))


@functools.cache
def compiled(*, jit_compile: bool) -> tuple[tfg.FlowModel, list[np.ndarray]]:
    """A model that trainings share, which is traced once, and all that they change."""
    model = flow_model()
    tfg.initialize(model.distribution, BATCHES[0])
    optimizer = tfg.Adamax(1e-2, use_ema=True, weight_decay=0.1)
    model.compile(optimizer, jit_compile=jit_compile, clip_norm=1.0)
    optimizer.build(model.trainable_variables)
    return model, [v.numpy() for v in variables_of(model)]


def variables_of(model):
    return [*model.variables, *model.optimizer.variables]


def fit(batches, *callbacks, jit_compile=False, epochs=2):
    """Everything that training changes, and its history, from a fresh start."""
    model, start = compiled(jit_compile=jit_compile)
    for variable, value in zip(variables_of(model), start, strict=True):
        variable.assign(value)
    history = model.fit(
        np.concatenate(batches),
        batch_size=16,
        epochs=epochs,
        shuffle=False,
        callbacks=callbacks,
        verbose=0,
    )
    return [v.numpy() for v in variables_of(model)], history.history


@pytest.mark.parametrize(
    ("value", "jit_compile"), [(np.nan, True), (np.inf, False), (1e4, False)]
)
def test_a_poisoned_batch_is_as_if_it_had_not_been(value, jit_compile, capsys):
    poison = BATCHES[1].copy()
    poison[3, 2] = value
    poisoned = [*BATCHES[:3], poison, *BATCHES[3:]]
    expected, clean = fit(BATCHES, jit_compile=jit_compile)
    found, history = fit(poisoned, tfg.DivergenceGuard(), jit_compile=jit_compile)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(history["loss"], clean["loss"], rtol=1e-6)
    np.testing.assert_allclose(
        history["gradient_norm"], clean["gradient_norm"], rtol=1e-6
    )
    assert history["num_skipped"] == [1, 2]
    printed = capsys.readouterr().out
    assert printed.startswith("Step 4 was skipped: its loss")
    assert ("far above the mean" in printed) == (value == 1e4)
    # Without a guard it is ruin, or far from where it was.
    ruined, _ = fit(poisoned, jit_compile=jit_compile)
    assert not all(
        np.allclose(one, other, rtol=1e-3)
        for one, other in zip(expected, ruined, strict=True)
    )


def test_a_first_step_that_is_skipped_leaves_the_average_to_the_second():
    poison = np.full_like(BATCHES[0], np.nan)
    expected, _ = fit(BATCHES, epochs=1)
    found, _ = fit([poison, *BATCHES], tfg.DivergenceGuard(), epochs=1)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_go_back_to_what_was_trusted_and_the_rate_is_lowered(capsys):
    """Good steps up to the fifth, then nothing but bad ones."""
    bad = [np.full_like(BATCHES[0], np.nan)] * 3
    guard = tfg.DivergenceGuard(every_n_steps=2, max_bad_steps=3, factor=0.25)
    found, history = fit([*BATCHES[:5], *bad], guard, epochs=1)
    # Copies are of steps 0, 2 and 4; the last but one is trusted.
    expected, _ = fit(BATCHES[:2], epochs=1)
    model, _ = compiled(jit_compile=False)
    names = [v.name for v in variables_of(model)]
    rate = names.index("learning_rate")
    np.testing.assert_allclose(found[rate], 0.25e-2)
    del found[rate], expected[rate]
    # Keras leaves the average in the weights.
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    printed = capsys.readouterr().out
    assert history["num_rollbacks"] == [1]
    assert "3 bad steps in a row: back to the weights of step 2" in printed
    assert "times 0.25. The weights look as they did; it may be the data." in printed


class NoNumber(keras.callbacks.Callback):
    """Has the first validation find none; keeps what there was at some moments."""

    def __init__(self):
        super().__init__()
        self.after_step, self.before_epoch = {}, []

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self.before_epoch.append([v.numpy() for v in variables_of(self.model)])

    def on_train_batch_end(self, batch, logs=None):
        values = [v.numpy() for v in variables_of(self.model)]
        self.after_step[int(self.model.optimizer.iterations)] = values

    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            logs["val_loss"] = np.nan


@pytest.mark.parametrize("guard_first", [True, False])
def test_weights_and_average_go_back_each_to_its_place(guard_first, capsys):
    """Where Keras exchanges them at the end of an epoch."""

    def callbacks():
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        guard = tfg.DivergenceGuard(every_n_steps=2)
        return [guard, swap][:: 1 if guard_first else -1]

    seen = NoNumber()
    fit(BATCHES, seen, *callbacks())
    # Copies are of steps 0, 2, 4 and 6; the last but one is trusted.
    assert "back to the weights of step 4" in capsys.readouterr().out
    model, _ = compiled(jit_compile=False)
    names = [v.name for v in variables_of(model)]
    pairs = zip(names, seen.after_step[4], seen.before_epoch[1], strict=True)
    for name, expected, found in pairs:
        if name == "learning_rate":
            expected = expected / 2
        # Keras exchanges them by sums and differences.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6, err_msg=name)
    # After the last epoch it is the average that is kept.
    fit(BATCHES, seen, *callbacks(), epochs=1)
    values = dict(zip(map(id, variables_of(model)), seen.after_step[4], strict=True))
    averages = model.optimizer._model_variables_moving_average
    for variable, average in zip(model.trainable_variables, averages, strict=True):
        np.testing.assert_allclose(variable, values[id(average)], rtol=1e-5, atol=1e-6)


def images():
    return tfg.data.load_arrays("digits", "train", limit=256)[0]


def glow_model(rate, num_levels=1, num_steps=1, **kwargs):
    options = {"num_levels": num_levels, "num_steps": num_steps, **kwargs}
    model = tfg.GlowModel([8, 8, 1], num_bits=4, seed=0, **options)
    schedule = keras.optimizers.schedules.CosineDecay(rate, 1000)
    model.compile(tfg.Adamax(schedule, use_ema=True))
    return model


def test_a_learning_rate_that_blows_up_is_lowered_until_it_trains(capsys):
    keras.utils.set_random_seed(0)
    model = glow_model(1e4, hidden_channels=4)
    guard = tfg.DivergenceGuard(max_rollbacks=10, factor=0.01)
    history = model.fit(
        images(),
        epochs=8,
        batch_size=32,
        validation_data=images()[:50],
        callbacks=[guard, tfg.EvaluateAverage(images()[:50])],
        verbose=0,
    ).history
    assert np.isfinite(history["bits_per_dim"]).all()
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0] - 0.3
    assert np.isfinite(history["val_bits_per_dim_raw"]).all()
    printed = capsys.readouterr().out
    assert re.search(
        r"3 bad steps in a row: back to the weights of step 0, and the learning rate "
        r"times 0\.01\. First to go was level 0, step \d; what changed most in it is "
        r"\w+/\w+\.\n",
        printed,
    )
    assert isinstance(model.optimizer._learning_rate, ScaledSchedule)


def test_gives_up_in_the_end():
    model = glow_model(1e30, hidden_channels=4)
    guard = tfg.DivergenceGuard(max_rollbacks=2, max_bad_steps=1)
    with pytest.raises(TrainingDiverged, match=r"diverged: 1 bad.*level \d, step \d"):
        model.fit(images(), epochs=4, batch_size=32, callbacks=[guard], verbose=0)
    # What is left is good.
    assert np.isfinite(model.bits_per_dim(images()[:8], seed=0)).all()
    assert model.step_guard is None


def test_names_the_step_whose_gradient_is_not_finite(capsys):
    """The gradients of what comes after it, towards the latent, are finite."""
    made = []

    @tf.custom_gradient
    def ruin(x):
        return x, lambda dy: dy * np.nan

    class Ruinous(keras.layers.Conv2D):
        def call(self, x):
            return ruin(super().call(x))

    def network_fn(channels_in, channels_out):
        made.append(None)
        kind = Ruinous if len(made) == 3 else keras.layers.Conv2D  # level 1, step 0
        return kind(channels_out, 3, padding="same", name="convolution")

    model = glow_model(1e-3, 2, 2, network_fn=network_fn)
    guard = tfg.DivergenceGuard(max_bad_steps=9)
    before = [v.numpy() for v in model.variables]
    tfg.initialize(model.glow, images()[:32] / 16.0 - 0.5)
    model.fit(images()[:32], callbacks=[guard], verbose=0)
    printed = capsys.readouterr().out
    assert "Step 1 was skipped: the gradient of level 1, step 0, " in printed
    assert "is not finite" in printed
    assert len(before) == len(model.variables)


def test_without_it_the_next_training_is_unguarded():
    x = np.concatenate([BATCHES[0], np.full_like(BATCHES[0], np.nan)])
    model = flow_model()
    tfg.initialize(model.distribution, BATCHES[0])
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(x, callbacks=[tfg.DivergenceGuard()], **options)
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)
    model.fit(x, **options)
    assert not all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)


def test_an_unguarded_training_has_the_rate_that_a_guard_lowered(capsys):
    x = np.concatenate(BATCHES[:2])
    model = flow_model()
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 99)))
    options = {"batch_size": 16, "shuffle": False, "verbose": 0}
    model.fit(x, **options)  # traced with a schedule that knows of no factor
    guard = tfg.DivergenceGuard(max_bad_steps=1, factor=1e-30)
    model.fit(np.full_like(BATCHES[0], np.nan), callbacks=[guard], **options)
    assert "the learning rate times 1e-30" in capsys.readouterr().out
    before = [v.numpy() for v in model.trainable_variables]
    model.fit(x, **options)
    for value, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable, value)


def shifted(x, guard, model=None, **options):
    """The history of a model whose first loss is near half the mean of x squared."""
    if model is None:
        base = tfd.Sample(tfd.Normal(0.0, 1.0), [x.shape[-1]])
        shift = tfb.Shift(tf.Variable(tf.zeros(x.shape[-1]), name="shift"))
        flow = tfb.Chain([shift, tfb.Scale(tf.Variable(1.0, name="scale"))])
        model = tfg.FlowModel(tfd.TransformedDistribution(base, flow))
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model, model.fit(x, callbacks=[guard], **options).history


@pytest.mark.parametrize("channels", [4, 3])
def test_one_guard_is_for_one_model_after_the_other(channels):
    guard = tfg.DivergenceGuard()
    shifted(BATCHES[0], guard)
    far = np.concatenate(BATCHES)[:, :channels] + 100
    model, history = shifted(far, guard)  # its losses are far above those before
    assert history["num_skipped"] == [0]
    assert int(model.optimizer.iterations) == 6
    assert np.any(model.trainable_variables[0].numpy() != 0)


def test_a_guard_is_used_again_after_variables_were_frozen():
    """And their gradients are told apart, which have other shapes."""
    guard = tfg.DivergenceGuard()
    model, _ = shifted(BATCHES[0], guard)
    assert [v.shape.rank for v in model.trainable_variables] == [1, 0]
    model.trainable_variables[0].trainable = False
    model.compile()
    x = np.concatenate([np.full_like(BATCHES[0], np.nan), BATCHES[1]])
    _, history = shifted(x, guard, model)
    assert history["num_skipped"] == [1]
    assert np.isfinite(history["loss"]).all()


def test_each_training_begins_anew_with_what_is_skipped_and_goes_back(capsys):
    guard = tfg.DivergenceGuard(max_bad_steps=1, max_rollbacks=1)
    bad = np.full_like(BATCHES[0], np.nan)
    model, _ = shifted(np.concatenate([BATCHES[0], bad]), guard)
    for _ in range(2):
        _, history = shifted(np.concatenate([BATCHES[0] + 100, bad]), guard, model)
        assert history["num_skipped"] == history["num_rollbacks"] == [1]
    assert "far above" not in capsys.readouterr().out
    np.testing.assert_allclose(model.optimizer.learning_rate, 1e-3 / 8)  # is kept
    with pytest.raises(TrainingDiverged, match="1 times already"):
        shifted(bad, guard, model, epochs=2)


def test_a_scaled_schedule_comes_back_from_its_configuration():
    schedule = ScaledSchedule(keras.optimizers.schedules.CosineDecay(1.0, 10), 0.5)
    config = keras.saving.serialize_keras_object(schedule)
    restored = keras.saving.deserialize_keras_object(config)
    assert float(restored(5)) == float(schedule(5)) == pytest.approx(0.25)


def test_refuses_what_it_cannot_guard():
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(1)])
    model.compile(loss="mse")
    guard = tfg.DivergenceGuard()
    with pytest.raises(TypeError, match="Only a `FlowModel`.*Received: Sequential"):
        model.fit(BATCHES[0], np.zeros(16), callbacks=[guard], verbose=0)
    with pytest.raises(ValueError, match="`max_jump` must be.*Received: max_jump=0"):
        tfg.DivergenceGuard(max_jump=0)
    with pytest.raises(ValueError, match="`max_rollbacks` must be.*at least 0.*=-1"):
        tfg.DivergenceGuard(max_rollbacks=-1)
    x = np.full_like(BATCHES[0], np.nan)
    with pytest.raises(ValueError, match="not finite before the first step.*act_norm"):
        flow_model().fit(x, callbacks=[tfg.DivergenceGuard()], verbose=0)
    model = flow_model()
    model.compile(keras.optimizers.LossScaleOptimizer(tfg.Adamax()))
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        model.fit(BATCHES[0], callbacks=[tfg.DivergenceGuard()], verbose=0)


def test_has_no_variable_that_a_gpu_s_program_refuses():
    # TensorFlow keeps variables of int32 on the host, where XLA cannot reach them.
    guard = StepGuard([tf.Variable([1.0])], max_jump=1.0)
    assert tf.int32 not in {variable.dtype for variable in guard.variables}


def test_further_trainings_are_not_traced_again():
    x, guard = np.zeros([8, 3], np.float32), tfg.DivergenceGuard()
    base = tfp.distributions.Sample(tfp.distributions.Normal(0.0, 1.0), [3])
    model = tfg.FlowModel(
        tfp.distributions.TransformedDistribution(
            base, tfp.bijectors.Shift(tf.Variable(tf.zeros([3])))
        )
    )
    functions = []
    for callbacks in ([guard], [], [guard], []):
        keep = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda *_, **__: functions.append(model.train_function)
        )
        model.fit(x, batch_size=8, callbacks=[*callbacks, keep], verbose=0)
    assert functions[0] is functions[2]
    assert functions[1] is functions[3]
    assert functions[0] is not functions[1]


def test_several_steps_at_once_are_told_together(capsys):
    model = flow_model()
    model.compile(tfg.Adamax(1e-3), steps_per_execution=4)
    x = np.concatenate(BATCHES[:4])
    x[20], x[40] = np.nan, np.nan  # in the second batch and the third
    history = model.fit(
        x,
        batch_size=16,
        shuffle=False,
        callbacks=[tfg.DivergenceGuard()],
        verbose=0,
    ).history
    assert history["num_skipped"] == [2]
    printed = capsys.readouterr().out
    assert (
        printed == "2 of the last steps skipped, the last of them: its loss is nan.\n"
    )
