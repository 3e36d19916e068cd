"""`check_invertibility` and the callback that calls it."""

import gc
import json

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow._probed_glow import ProbedGlow
from tfp_glow.invertibility import InvertibilityReport, PartReport

SMALL = {"num_levels": 2, "num_steps": 2, "hidden_channels": 4, "seed": 0}
SMALLEST = {"num_levels": 1, "num_steps": 1}


def images(num: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, [num, 8, 8, 1], np.uint8)


def perturbed(scale: float = 0.05, dtype: str = "float64", **arguments):
    model = tfg.GlowModel((8, 8, 1), dtype=dtype, **(SMALL | arguments))
    rng = np.random.default_rng(1)
    for variable in model.distribution.trainable_variables:
        noise = rng.normal(scale=scale, size=variable.shape)
        variable.assign_add(tf.constant(noise, variable.dtype))
    return model


def set_step(model: tfg.GlowModel, level: int, step: int, key: str, value) -> None:
    variable = model.glow.levels[level].stacked[key]
    values = variable.numpy()
    values[step] = value
    variable.assign(values)


@pytest.fixture(scope="module")
def model():
    return perturbed()


@pytest.fixture(scope="module")
def report(model):
    return tfg.check_invertibility(model, images(), num_samples=3)


@pytest.fixture(scope="module")
def float32_model():
    return perturbed(dtype="float32")


@pytest.fixture
def spoiled(float32_model):
    """A model to change: afterwards its weights are put back."""
    weights = float32_model.get_weights()
    yield float32_model
    float32_model.set_weights(weights)


def test_reports_every_part_in_order(report):
    names = [part.name for part in report.parts]
    steps = [f"level {i}, step {k}" for i in range(2) for k in range(2)]
    assert names == [*steps[:2], "level 0, split", *steps[2:], "top prior"]
    assert (report.num_images, report.num_samples) == (6, 3)
    assert report.dtype == "float64"


def test_scales_and_condition_numbers_are_those_of_the_variables(model, report):
    parts = {part.name: part for part in report.parts}
    for i, level in enumerate(model.glow.levels):
        for k, step in enumerate(level.steps):
            part = parts[f"level {i}, step {k}"]
            largest = 3 * np.abs(level.stacked["act_norm/raw_log_scale"][k]).max()
            assert part.act_norm_log_scale == pytest.approx(largest)
            largest = np.abs(level.stacked["permutation/log_diag"][k]).max()
            assert part.log_diag == pytest.approx(largest)
            condition = np.linalg.cond(step.permutation.matrix())
            assert part.condition_number == pytest.approx(condition)
    assert parts["top prior"].act_norm_log_scale is None
    assert report.worst("log_diag") == max(
        (part.log_diag, part.name) for part in report.parts if part.log_diag
    )


def test_largest_scale_of_couplings_on_data_and_samples(model):
    report = tfg.check_invertibility(model, images(70), num_samples=70, seed=3)
    latents = tf.random.stateless_normal([70, 64], [3, 0], dtype=tf.float64)
    level, split = model.glow.levels[0], model.glow.chain.split_priors[0]
    probed = ProbedGlow(model.glow)
    centers = tfg.dequantize(images(70), noise=0.5, dtype=tf.float64)
    _, of_data = probed.encode_and_decode(centers, {})
    samples, _, of_samples = probed.decode_and_encode(latents, {})
    for found, x in ((of_data, centers), (of_samples, samples)):
        h = level.steps[0].inverse(tfg.Squeeze().inverse(tf.identity(x)))
        first = level.steps[0].coupling.log_scale(h)
        h = split.inverse(level.steps[1].inverse(h))
        expected = [np.abs(first).max(), np.abs(split.log_scale(h)).max()]
        np.testing.assert_allclose([found[0, 0], found[2, 0]], expected, rtol=1e-8)
    actual = [part.coupling_log_scale for part in report.parts[:-1]]
    np.testing.assert_allclose(
        actual, np.maximum(of_data[:-1, 0], of_samples[:-1, 0]), rtol=1e-6
    )
    assert report.parts[-1].coupling_log_scale is None  # the top prior has none


def test_errors_are_measured_at_both_ends():
    report = tfg.check_invertibility(perturbed(num_levels=1), images(70))
    first, last = report.parts[0], report.parts[-1]
    assert 0 < first.data_error == report.data_error
    assert 0 < last.sample_error == report.sample_error
    assert last.data_error < first.data_error
    assert first.sample_error != last.sample_error
    assert first.sample_value == report.largest_value > 0


def test_errors_are_those_of_the_precision(float32_model):
    report = tfg.check_invertibility(float32_model, images())
    exact = tfg.check_invertibility(float32_model.with_dtype("float64"), images())
    assert report.is_invertible
    assert exact.is_invertible
    assert exact.dtype == "float64"
    for name in ("data_error", "sample_error"):
        assert 1e-8 < getattr(report, name) < 1e-4
        assert 0 < getattr(exact, name) < 1e-12
        assert 1e-8 < report.worst(name)[0] < 1e-4
    assert "all pixels of 6 images came back" in report.verdict()


def test_finds_where_samples_overflow(spoiled):
    raw = np.zeros(8)
    raw[4:] = -100.0  # a scale of exp(-98)
    set_step(spoiled, 1, 0, "network/bias_3", raw)
    report = tfg.check_invertibility(spoiled, images(), num_samples=5)
    assert not report.is_invertible
    assert (report.num_not_finite, report.num_black) == (5, 0)
    assert "5 of 5 samples are not finite" in report.verdict()
    assert "level 1, step 0" in report.verdict()
    plain = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert plain["num_not_finite"] == 5
    assert plain["largest_value"] is None
    assert plain["is_invertible"] is False
    assert len(plain["parts"]) == 6


def test_counts_pixels_that_do_not_come_back(spoiled):
    # Channels scaled down and up again by 1e-5 lose their digits in between.
    down = np.array([0.0, 0.0, -12.0, -12.0])
    set_step(spoiled, 0, 0, "permutation/log_diag", down)
    set_step(spoiled, 0, 1, "permutation/log_diag", -down)
    report = tfg.check_invertibility(spoiled, images())
    assert not report.is_invertible
    decoded = spoiled.decode(tf.identity(spoiled.encode(images())))
    wrong = np.sum(decoded != images())
    assert report.num_wrong_pixels == pytest.approx(wrong, rel=0.1)
    assert f"{report.num_wrong_pixels} pixels of 6 images" in report.verdict()
    assert "the error grows most in level 0, step 0" in report.verdict()
    assert report.sample_error > 0.1
    assert report.data_error > 1 / 512
    exact = tfg.check_invertibility(spoiled.with_dtype("float64"), images())
    assert exact.num_wrong_pixels == 0


def test_what_is_no_number_did_not_come_back(spoiled):
    set_step(spoiled, 0, 0, "act_norm/raw_log_scale", 40.0)
    report = tfg.check_invertibility(spoiled, np.zeros([4, 8, 8, 1], np.uint8))
    assert not report.is_invertible
    assert report.num_wrong_pixels == 256  # though NaN would be black, as they are


def test_latents_must_come_back_too():
    parts = [PartReport("a", sample_value=900.0), PartReport("b", sample_value=3.0)]
    report = InvertibilityReport("float32", num_samples=3, sample_error=0.05)
    report.parts = parts
    assert report.is_invertible
    report.sample_error = 0.5
    assert not report.is_invertible
    assert not report.is_sound
    expected = "the latents of samples did not come back; they grow most in a."
    assert report.verdict().endswith(expected)


def test_keeps_no_tensors(model, report):
    del report  # of a first check, after which all is there that is kept

    def num_tensors() -> int:
        gc.collect()
        return sum(isinstance(x, tf.Tensor) for x in gc.get_objects())

    before = num_tensors()
    tfg.check_invertibility(model, images(), num_samples=2)
    assert num_tensors() - before < 10


def test_counts_black_samples():
    model = perturbed(**SMALLEST)
    set_step(model, 0, 0, "act_norm/shift", 1000.0)
    report = tfg.check_invertibility(model, images(), num_samples=4)
    assert report.num_black == 4
    assert not report.is_sound
    assert report.is_invertible  # as exact as any other
    assert "the latents of 4 samples, of which 4 are black." in str(report)


def test_labels_reach_the_prior():
    model = perturbed(num_classes=3, **SMALLEST)
    report = tfg.check_invertibility(model, images(), [0, 1, 2, 0, 1, 2])
    assert report.is_invertible
    assert report.data_error < 1e-12
    with pytest.raises(ValueError, match="needs labels"):
        tfg.check_invertibility(model, images())


def test_bounded_scale_keeps_samples_finite_where_sigmoid_does_not():
    largest = {}
    for scale in ("sigmoid", "bounded"):
        model = tfg.GlowModel((8, 8, 1), scale=scale, **SMALL | {"num_steps": 1})
        for level in model.glow.levels:
            kernel = level.stacked["network/kernel_3"]
            noise = np.random.default_rng(0).normal(scale=30, size=kernel.shape)
            kernel.assign(noise.astype(np.float32))
        for prior in model.glow.chain.split_priors:
            kernel = prior.network.parameters["kernel"]
            kernel.assign(tf.ones_like(kernel) * 10)
        report = tfg.check_invertibility(model, images())
        largest[scale] = report.num_not_finite, report.worst("coupling_log_scale")[0]
    assert largest["sigmoid"][0] > 0
    assert largest["bounded"] == (0, pytest.approx(3.0))  # the split prior's


def test_rejects_what_is_no_image(model):
    with pytest.raises(TypeError, match="must be uint8"):
        tfg.check_invertibility(model, images() / 255)
    with pytest.raises(ValueError, match="`images` must hold at least one"):
        tfg.check_invertibility(model, images(0))
    with pytest.raises(TypeError, match="Only a `GlowModel`"):
        tfg.check_invertibility(model.glow, images())
    with pytest.raises(ValueError, match="`num_samples` must be a positive integer"):
        tfg.check_invertibility(model, images(), num_samples=0)


def test_monitor_adds_to_the_logs():
    model = tfg.GlowModel((8, 8, 1), **SMALL | SMALLEST)
    monitor = tfg.InvertibilityMonitor(images(), num_samples=3, every_n_epochs=2)
    history = model.fit(images(32), epochs=4, callbacks=[monitor], verbose=0).history
    assert list(monitor.reports) == [1, 3]
    report = monitor.reports[3]
    assert (report.num_images, report.num_samples) == (6, 3)
    for name, value in report.summary().items():
        assert history[name][3] == value
        np.testing.assert_array_equal(np.isnan(history[name]), [True, False] * 2)
    assert history["num_wrong_pixels"][1::2] == [0, 0]
    assert history["max_condition_number"][-1] > 1.0
    now = tfg.check_invertibility(model, images(), num_samples=3)
    assert now.summary() == pytest.approx(report.summary(), rel=1e-4, abs=1e-5)


def test_monitor_passes_on_what_it_was_given():
    model = perturbed(num_classes=3, learn_top_prior=False, **SMALLEST)
    y = np.arange(6) % 3
    monitor = tfg.InvertibilityMonitor(images(), y, num_samples=5, seed=7)
    monitor.set_model(model)
    monitor.on_epoch_end(0)
    expected = tfg.check_invertibility(model, images(), y, num_samples=5, seed=7)
    assert monitor.reports[0] == expected
    other = tfg.check_invertibility(model, images(), y, num_samples=5, seed=8)
    assert other.largest_value != expected.largest_value
    # Samples are of each class in turn.
    latents = tf.random.stateless_normal([5, 64], [7, 0], dtype=tf.float64)
    samples = model.glow.forward(latents, labels=np.arange(5) % 3)
    assert expected.largest_value == pytest.approx(np.abs(samples).max())


def test_monitor_checks_its_inputs_before_training():
    model = tfg.GlowModel((8, 8, 1), num_classes=3, **SMALL)
    monitor = tfg.InvertibilityMonitor(images())
    with pytest.raises(ValueError, match="needs labels"):
        model.fit(images(), np.arange(6) % 3, callbacks=[monitor], verbose=0)
    assert model.optimizer.iterations == 0


def test_monitor_says_what_is_wrong(spoiled, capsys):
    raw = np.zeros(8)
    raw[4:] = -100.0
    set_step(spoiled, 1, 1, "network/bias_3", raw)
    monitor = tfg.InvertibilityMonitor(images(), num_samples=3)
    monitor.set_model(spoiled)
    monitor.on_epoch_end(4, {})
    printed = capsys.readouterr().out
    assert printed.startswith("Epoch 5: not invertible in float32: ")
    assert "3 of 3 samples are not finite; they grow most in level 1, step 1" in printed
    assert monitor.reports[4].num_not_finite == 3
