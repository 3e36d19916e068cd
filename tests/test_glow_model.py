"""`GlowModel`: images in, images out."""

import json
import shutil
import warnings
import zipfile
from functools import partial
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.networks import GlowNetwork

SHARED = Path(__file__).parents[2] / "shared" / "tensorflow_datasets"
SMALL = {"num_levels": 2, "num_steps": 1, "hidden_channels": 8, "seed": 1}


def images(num: int = 96, shape: tuple[int, ...] = (8, 8, 1)) -> np.ndarray:
    """Bright blobs on a dark ground: compressible."""
    rng = np.random.default_rng(0)
    rows = np.exp(-((np.arange(shape[0]) - rng.uniform(2, 5, [num, 1])) ** 2) / 4)
    columns = np.exp(-((np.arange(shape[1]) - rng.uniform(2, 5, [num, 1])) ** 2) / 4)
    blobs = 200 * rows[:, :, None] * columns[:, None] + rng.uniform(
        0, 50, [num, *shape[:2]]
    )
    return np.repeat(blobs[..., None], shape[2], -1).astype(np.uint8)


def labels(num: int = 96) -> np.ndarray:
    return np.arange(num) % 3


def trained(**kwargs: object) -> tfg.GlowModel:
    """A few steps make every coupling do something."""
    keras.utils.set_random_seed(0)
    model = tfg.GlowModel((8, 8, 1), **(SMALL | kwargs))
    model.compile(keras.optimizers.Adamax(1e-2))
    y = labels() if model.glow.num_classes else None
    model.fit(images(), y, epochs=4, verbose=0)
    return model


def assert_same_bits(
    actual: tfg.GlowModel, desired: tfg.GlowModel, y: np.ndarray | None = None
) -> None:
    np.testing.assert_allclose(
        actual.bits_per_dim(images(), y, seed=0),
        desired.bits_per_dim(images(), y, seed=0),
        rtol=1e-5,
    )


@pytest.fixture(scope="module")
def model() -> tfg.GlowModel:
    return trained()


@pytest.fixture(scope="module")
def conditional() -> tfg.GlowModel:
    return trained(num_classes=3)


@pytest.fixture(scope="module")
def untrained() -> tfg.GlowModel:
    return tfg.GlowModel((8, 8, 1), **SMALL)


@pytest.fixture(scope="module")
def losses() -> list[float]:
    """Those of a training that others are compared with."""
    model = tfg.GlowModel((8, 8, 1), **SMALL)
    return model.fit(images(), epochs=2, shuffle=False, verbose=0).history["loss"]


def test_fit_logs_falling_bits_per_dim(model):
    history = model.history.history
    assert list(history) == ["bits_per_dim", "gradient_norm", "loss"]
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0] - 0.5
    np.testing.assert_allclose(history["loss"], history["bits_per_dim"], rtol=1e-5)


def test_bits_per_dim_is_that_of_the_distribution(model):
    x = tfg.dequantize(images(), seed=[3, 0])
    log_prob = model.distribution.log_prob(x)
    expected = -log_prob / 64 / np.log(2) + 8
    np.testing.assert_allclose(
        model.bits_per_dim(images(), seed=[3, 0]), expected, rtol=1e-5
    )
    np.testing.assert_allclose(
        model.log_prob(images(), seed=[3, 0]), log_prob - 64 * np.log(256), rtol=1e-5
    )
    assert expected.numpy().mean() < 7


def test_more_noise_samples_average_probabilities(model):
    log_probs = [model.log_prob(images(), seed=[5, i]) for i in range(3)]
    expected = -(tf.reduce_logsumexp(log_probs, 0) - np.log(3)) / 64 / np.log(2)
    actual = model.bits_per_dim(images(), seed=[5, 0], num_noise_samples=3)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.fixture
def traced(monkeypatch):
    """Names of the maps that were traced, each with the number of images."""
    traced = []

    def counted(name):
        original = getattr(tfg.Glow, name)

        def count(self, x, **kwargs):
            traced.append((name, x.shape[0]))
            return original(self, x, **kwargs)

        return count

    for name in ("_inverse_and_log_det", "_forward_and_log_det"):
        monkeypatch.setattr(tfg.Glow, name, counted(name))
    return traced


def pictures_of_unknown_size(num: int = 8) -> tf.data.Dataset:
    """As decoded from files."""
    encoded = [tf.io.encode_png(image).numpy() for image in images(num)]
    decode = partial(tf.io.decode_image, expand_animations=False)
    data = tf.data.Dataset.from_tensor_slices(encoded).map(decode).batch(4)
    assert data.element_spec.shape.as_list() == [None] * 4
    return data


def test_pictures_of_unknown_size_are_those_of_known_size(model):
    expected = model.evaluate(images(8), batch_size=4, verbose=0)
    found = model.evaluate(pictures_of_unknown_size(), verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for dequantization in ("uniform", "variational"):
        small = SMALL | {"num_levels": 1, "dequantization": dequantization}
        new = tfg.GlowModel((8, 8, 1), **small)
        history = new.fit(pictures_of_unknown_size(), epochs=3, verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
    distribution = model.distribution
    unknown = tf.function(
        distribution.log_prob, input_signature=[tf.TensorSpec([None] * 4)]
    )
    x = tfg.dequantize(images(3), seed=0)
    np.testing.assert_allclose(unknown(x), distribution.log_prob(x), rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="shape"):
        unknown(x[:, :4])


@pytest.mark.parametrize("labels", [1, [1, 1, 1, 1]])
def test_samples_with_labels_in_a_function_are_those_outside(labels):
    model = tfg.GlowModel(
        (8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4, num_classes=3
    )
    expected = model.sample(4, labels=labels, seed=0)
    inside = tf.function(lambda: model.sample(4, labels=labels, seed=0))
    np.testing.assert_array_equal(inside(), expected)
    given = tf.function(lambda labels: model.sample(4, labels=labels, seed=0))
    np.testing.assert_array_equal(given(tf.constant(labels)), expected)


def test_a_loaded_model_is_initialised_by_the_first_batch_it_is_trained_on(tmp_path):
    model = tfg.GlowModel((8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4)
    model.compile()
    model.save(tmp_path / "new.keras")
    loaded = keras.models.load_model(tmp_path / "new.keras")
    assert loaded.optimizer.built
    for trained_on in (model, loaded):
        trained_on.train_on_batch(images(32))
        assert tfg.bijectors.is_initialized(trained_on.distribution)
    learned = loaded.get_weights()
    loaded.optimizer.learning_rate = 0.0
    loaded.fit(255 - images(32), epochs=1, verbose=0)
    for before, after in zip(learned, loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@keras.saving.register_keras_serializable(package="tests")
def two_layers(channels_in: int, channels_out: int) -> keras.Sequential:
    return keras.Sequential(
        [
            keras.Input([None, None, channels_in]),
            keras.layers.Conv2D(4, 3, padding="same"),
            keras.layers.Conv2D(channels_out, 3, padding="same"),
        ]
    )


def test_what_is_frozen_is_so_in_a_loaded_model(tmp_path):
    model = tfg.GlowModel((8, 8, 1), num_levels=1, num_steps=2, network_fn=two_layers)
    model.glow.levels[0].networks[1].network.layers[0].trainable = False
    of_norm = next(v for v in model.variables if "act_norm" in v.path)
    of_norm.trainable = False
    model.compile(keras.optimizers.Adamax(1e-2))
    model.fit(images(32), epochs=1, verbose=0)
    model.save(tmp_path / "frozen.keras")
    loaded = keras.models.load_model(tmp_path / "frozen.keras")
    assert loaded.optimizer.iterations == model.optimizer.iterations == 1
    is_trained = [variable.trainable for variable in model.variables]
    before = loaded.get_weights()
    loaded.fit(images(32), epochs=1, verbose=0)
    assert [variable.trainable for variable in loaded.variables] == is_trained
    assert is_trained.count(False) > 3
    for old, variable in zip(before, loaded.weights, strict=True):
        assert np.array_equal(old, variable) != variable.trainable


@keras.saving.register_keras_serializable(package="tests")
class Named(tfg.GlowModel):
    """Needs an argument of its own."""

    def __init__(self, owner: str, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)
        self.owner = owner

    def get_config(self) -> dict[str, object]:
        return {**super().get_config(), "owner": self.owner}


def test_a_copy_in_another_precision_is_of_its_class_and_as_frozen():
    """Also with a `network_fn` that nothing could write to a file."""
    network_fn = partial(lambda layers, *channels: layers(*channels), two_layers)
    small = {"num_levels": 1, "num_steps": 2, "seed": 1}
    model = Named("Ada", (8, 8, 1), network_fn=network_fn, **small)
    model.glow.levels[0].networks[1].network.layers[0].trainable = False
    next(v for v in model.variables if "act_norm" in v.path).trainable = False
    model.compile()
    copy = model.with_dtype("float64")
    copy.compile()
    assert (type(copy), copy.owner, copy.dtype) == (Named, "Ada", "float64")
    is_trained = [variable.trainable for variable in model.variables]
    assert [variable.trainable for variable in copy.variables] == is_trained
    assert is_trained.count(False) > 3
    for one, other in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError, match="Cannot serialize"):
        model.get_config()  # as before the copy


def test_labels_of_any_type_of_integers_share_a_trace(traced):
    model = tfg.GlowModel(
        (8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4, num_classes=3
    )
    samples = [
        model.sample(2, labels=np.array([0, 2], dtype), seed=1)
        for dtype in ("int32", "int64", "uint8")
    ]
    assert traced == [("_forward_and_log_det", None)]
    np.testing.assert_array_equal(samples[1:], samples[:1] * 2)


def test_a_map_is_traced_once_for_any_number_of_images(traced):
    model = tfg.GlowModel((8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4)
    for num in (3, 5):
        z = model.encode(images(num))
        assert z.shape == [num, 64]
    assert traced == [("_inverse_and_log_det", None)]
    for _ in range(2):
        for num in (3, 5):
            assert model.decode(z[:num]).shape == model.sample(num).shape
    assert traced[1:] == [("_forward_and_log_det", None)]  # both by the same map


@pytest.mark.parametrize("num_bits", [8, 5, 1])
def test_decode_of_encode_clears_the_low_bits_and_nothing_else(model, num_bits):
    weights = model.get_weights()
    model = tfg.GlowModel.from_config(model.get_config() | {"num_bits": num_bits})
    model.set_weights(weights)
    x = np.random.default_rng(1).integers(0, 256, [64, 8, 8, 1], np.uint8)
    for batch in (x, images()):
        step = 2 ** (8 - num_bits)
        np.testing.assert_array_equal(
            model.decode(tf.identity(model.encode(batch))), batch // step * step
        )


def test_decode_warns_of_what_is_not_finite(model):
    latents = np.zeros([3, 64], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = model.decode(latents)
    latents[1] = 3e38
    with pytest.warns(UserWarning, match="^1 of 3 images hold values") as caught:
        decoded = model.decode(latents)
    with pytest.warns(UserWarning, match="^2 of 2 images hold values") as of_sample:
        model.sample(2, temperature=3e38)
    assert {w.filename for w in [*caught, *of_sample]} == {__file__}
    np.testing.assert_array_equal(decoded[::2], expected[::2])
    traced = tf.function(model.decode)(latents)  # which cannot see it
    np.testing.assert_array_equal(traced, decoded)


def test_decode_of_encode_is_exact_on_photos_with_trained_weights():
    """`test_pretrained` has digits and clothes."""
    pytest.importorskip("skimage")
    x, _ = tfg.data.load_arrays("photos", "test", limit=64)
    model = tfg.GlowModel(
        (32, 32, 3),
        num_levels=3,
        num_steps=5,  # enough to run as a loop, which is traced faster
        hidden_channels=16,
        seed=0,
    )
    model.compile(keras.optimizers.Adamax(5e-3))
    model.fit(x, epochs=4, batch_size=16, verbose=0)
    network = model.glow.levels[0].stacked["network/kernel_3"]
    assert np.abs(network).max() > 1e-3  # couplings that are zero pass anything
    np.testing.assert_array_equal(model.decode(tf.identity(model.encode(x))), x)


def test_evaluate_repeats_and_agrees_with_predict(model):
    first = model.evaluate(images(), verbose=0, return_dict=True)
    assert model.evaluate(images(), verbose=0, return_dict=True) == first
    bits = -np.mean(model.predict(images(), verbose=0)) / 64 / np.log(2)
    np.testing.assert_allclose(first["bits_per_dim"], bits, rtol=0.01)


def test_evaluation_draws_noise_for_every_batch(model):
    x = np.repeat(images(1), 64, axis=0)
    one = model.evaluate(x, batch_size=64, verbose=0, return_dict=True)
    two = model.evaluate(x, batch_size=32, verbose=0, return_dict=True)
    assert one["loss"] != two["loss"]
    np.testing.assert_allclose(one["loss"], two["loss"], rtol=0.02)


def test_weights_of_images_leave_the_noise_of_an_evaluation_as_it_is(conditional):
    x, y = np.repeat(images(1), 64, axis=0), np.zeros(64, int)

    def loss(num_images, **weights):
        part = x[:num_images], y[:num_images]
        return conditional.evaluate(*part, batch_size=32, verbose=0, **weights)[0]

    first, both = loss(32), loss(64)
    second = 2 * both - first  # of the second batch, whose noise is another
    weights = np.repeat([1e-3, 1.0], 32)
    found = loss(64, sample_weight=weights)
    np.testing.assert_allclose(found, (1e-3 * first + second) / 2, rtol=1e-6)


def test_steps_that_are_accumulated_get_noise_of_their_own():
    model = tfg.GlowModel((8, 8, 1), **SMALL)
    model.compile(tfg.Adamax(1e-3, gradient_accumulation_steps=3))
    found = [model.train_on_batch(images(4), return_dict=True) for _ in range(6)]
    assert len({logs["bits_per_dim"] for logs in found}) == 6


def test_another_seed_is_another_run(losses):
    model = tfg.GlowModel((8, 8, 1), **(SMALL | {"seed": 2}))
    fit = model.fit(images(), epochs=1, shuffle=False, verbose=0)
    assert abs(losses[0] - fit.history["loss"][0]) > 1e-3


def test_sample_has_the_temperature_and_the_seed(model):
    cold = model.sample(64, temperature=0.0, seed=1)
    assert cold.dtype == tf.uint8
    assert np.all(cold == cold[0])  # nothing but the mode
    np.testing.assert_array_equal(model.sample(4, seed=1), model.sample(4, seed=1))
    assert np.any(model.sample(4, seed=1) != model.sample(4, seed=2))
    assert np.any(model.sample(4) != model.sample(4))
    # One temperature an image: each row is as if sampled at its own.
    rows = model.sample(2, temperature=[0.0, 1.0], seed=1)
    np.testing.assert_array_equal(rows[0], cold[0])
    np.testing.assert_array_equal(rows[1], model.sample(2, seed=1)[1])


def test_samples_are_those_of_the_distribution(model):
    z = tf.random.stateless_normal([4, 64], [7, 0])
    x = model.distribution.bijector.forward(0.7 * z)
    np.testing.assert_array_equal(
        model.sample(4, temperature=0.7, seed=7), tfg.quantize(x)
    )


def test_labels_matter(conditional):
    x, y = images(), labels()
    right = np.mean(conditional.bits_per_dim(x, y, seed=0))
    wrong = np.mean(conditional.bits_per_dim(x, (y + 1) % 3, seed=0))
    assert right != wrong
    z = conditional.encode(x, y)
    np.testing.assert_array_equal(conditional.decode(tf.identity(z), y), x)
    a, b = (conditional.sample(4, labels=k, seed=0) for k in (0, 1))
    assert np.any(a != b)
    np.testing.assert_array_equal(a, conditional.sample(4, labels=[0] * 4, seed=0))


def test_conditional_fit_from_arrays_and_datasets(conditional):
    x, y = images(), labels()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    by_array = conditional.evaluate(x, y, verbose=0, return_dict=True)
    assert conditional.evaluate(dataset, verbose=0, return_dict=True) == by_array
    weight = np.zeros(96, "float32")
    weight[:32] = 3.0
    weighted = conditional.evaluate(x, y, sample_weight=weight, verbose=0)
    first = conditional.evaluate(x[:32], y[:32], verbose=0)
    np.testing.assert_allclose(weighted, first, rtol=1e-5)


def test_weights_and_checkpoints_as_in_keras(losses, tmp_path):
    model = tfg.GlowModel((8, 8, 1), **SMALL)
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            tmp_path / "best.weights.h5",
            monitor="val_bits_per_dim",
            mode="min",
            save_best_only=True,
            save_weights_only=True,
        ),
        keras.callbacks.TensorBoard(tmp_path / "logs"),
        keras.callbacks.EarlyStopping(monitor="val_bits_per_dim", mode="min"),
    ]
    history = model.fit(
        images(),
        epochs=2,
        shuffle=False,
        validation_data=(images(32),),
        callbacks=callbacks,
        verbose=0,
    ).history
    # The same seed is the same run, whatever is validated and saved meanwhile.
    np.testing.assert_allclose(history["loss"], losses, rtol=1e-5)
    other = tfg.GlowModel((8, 8, 1), **(SMALL | {"seed": 9}))
    other.load_weights(tmp_path / "best.weights.h5")
    actual = other.evaluate(images(32), verbose=0, return_dict=True)["bits_per_dim"]
    np.testing.assert_allclose(actual, min(history["val_bits_per_dim"]), rtol=1e-5)
    assert list((tmp_path / "logs").rglob("events*"))
    # TensorFlow's own checkpoints hold the same variables.
    tf.train.Checkpoint(model=other).write(str(tmp_path / "tf"))
    third = tfg.GlowModel((8, 8, 1), **(SMALL | {"seed": 8}))
    tf.train.Checkpoint(model=third).read(str(tmp_path / "tf"))
    for one, another in zip(third.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


def test_keras_tracks_exactly_the_variables_of_the_distribution(conditional):
    expected = [id(v) for v in conditional.distribution.trainable_variables]
    assert [id(v.value) for v in conditional.trainable_variables] == expected
    # Per level: act-norm 2, convolution 3, network 9; a split prior 3; top prior 6.
    assert len(expected) == 2 * 14 + 3 + 6
    # Not trained, per level: P, signs and "initialised".
    metrics = {id(v) for m in conditional.metrics for v in m.variables}
    rest = [v for v in conditional.non_trainable_variables if id(v) not in metrics]
    assert len(rest) == 2 * 3


def test_users_networks(tmp_path):
    @keras.saving.register_keras_serializable(package="tests")
    def network_fn(channels_in: int, channels_out: int) -> keras.Model:
        return keras.Sequential(
            [
                keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
                keras.layers.Conv2D(channels_out, 3, padding="same"),
            ]
        )

    model = trained(network_fn=network_fn, num_steps=1)
    # 2 steps of 4 Keras variables, besides what is stacked.
    assert len(model.trainable_variables) == 2 * 5 + 2 * 4 + 3 + 3
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert_same_bits(loaded, model)


def test_xla_trains_to_the_same_loss():
    found = []
    for jit_compile in (False, True):
        small = SMALL | {"num_levels": 1, "num_steps": 1}  # `accelerate` has more
        model = tfg.GlowModel((8, 8, 1), **small)
        model.compile(jit_compile=jit_compile)
        fit = model.fit(images(), epochs=2, shuffle=False, verbose=0)
        found.append(fit.history["loss"])
    np.testing.assert_allclose(*found, rtol=1e-4)


def test_summary_tells_shapes_and_parameters(conditional):
    lines = []
    conditional.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "images 8 x 8 x 1, 8 bits, 3 classes" in text
    assert "level_0  4 x 4 x 4  4 x 4 x 2" in text
    assert f"{conditional.count_params():,}"[:-3] in text


GOLDEN = Path(__file__).parent / "golden"


def test_reads_the_file_that_version_0_1_wrote():
    model = keras.models.load_model(GOLDEN / "format_1.keras")
    golden = np.load(GOLDEN / "format_1.npz")
    np.testing.assert_allclose(
        model.bits_per_dim(golden["images"], golden["labels"], seed=0),
        golden["bits_per_dim"],
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        model.encode(golden["images"], golden["labels"]), golden["latents"], atol=1e-4
    )


def test_refuses_the_file_of_a_later_format(model):
    config = model.get_config() | {"format_version": 2}
    with pytest.raises(ValueError, match=r"format 1\. Received: format_version=2"):
        tfg.GlowModel.from_config(config)


def test_a_file_that_is_cut_short_is_no_model(tmp_path, model):
    model.save(tmp_path / "m.keras")
    whole = (tmp_path / "m.keras").read_bytes()
    (tmp_path / "m.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
        keras.models.load_model(tmp_path / "m.keras")
    shutil.rmtree(tmp_path)


FLOAT = np.zeros([4, 8, 8, 1], np.float32)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (FLOAT, TypeError, "must be uint8.*float32, from 0.0 to 0.0"),
        (np.full([4, 8, 8, 1], 300), TypeError, "from 300 to 300"),
        (np.zeros([4, 8, 8], np.uint8), ValueError, r"shape=\(4, 8, 8\)"),
        (np.zeros([4, 8, 8, 3], np.uint8), ValueError, r"shape=\(4, 8, 8, 3\)"),
    ],
    ids=["dtype", "range", "rank", "channels"],
)
def test_rejects_images_that_do_not_fit(model, untrained, x, error, message):
    with pytest.raises(error, match=message):
        untrained.fit(x, verbose=0)
    for validation in (x, (x,), (x, None)):
        with pytest.raises(error, match=message):
            untrained.fit(images(4), validation_data=validation, verbose=0)
    assert not untrained.glow.levels[0].initialized.numpy()  # nothing has begun
    for method in (model.log_prob, model.bits_per_dim, model.encode):
        with pytest.raises(error, match=message):
            method(x)


def test_rejects_labels_that_do_not_fit(model, conditional):
    x = images(4)
    for function in (
        lambda: conditional.fit(x, verbose=0),
        lambda: conditional.log_prob(x),
        lambda: conditional.decode(np.zeros([4, 64])),
        lambda: conditional.sample(4),
    ):
        with pytest.raises(ValueError, match=r"needs labels, integers in \[0, 3\)"):
            function()
    for function in (
        lambda: model.fit(x, labels(4), verbose=0),
        lambda: model.encode(x, labels(4)),
        lambda: model.sample(4, labels=1),
    ):
        with pytest.raises(ValueError, match="takes no labels. Received: labels"):
            function()
    for wrong in ([0, 1, 2, 3], [0, 1, 2, -1]):
        y = np.array(wrong)
        for function in (
            lambda y: conditional.fit(x, y, verbose=0),
            lambda y: conditional.fit(x, labels(4), validation_data=(x, y), verbose=0),
            lambda y: conditional.evaluate(x, y, verbose=0),
        ):
            with pytest.raises(
                ValueError, match=r"in \[0, 3\)\. Received: labels from"
            ):
                function(y)
    with pytest.raises(ValueError, match="must be integers of shape"):
        conditional.encode(x, np.array([0.0, 1.0, 2.0, 1.0]))


@pytest.mark.parametrize(
    "temperature", [-0.1, float("nan"), float("inf"), [1.0, -1.0], "hot"]
)
def test_rejects_temperatures(model, temperature):
    with pytest.raises(ValueError, match=r"finite number of at least 0.*Received"):
        model.sample(2, temperature=temperature)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"num_bits": 0}, ValueError, "`num_bits`.*Received: num_bits=0"),
        ({"num_bits": 9}, ValueError, "from 1 to 8.*Received: num_bits=9"),
        ({"num_bits": 8.0}, ValueError, "Received: num_bits=8.0"),
        ({"dequantization": "gaussian"}, ValueError, "Received: dequantization="),
        ({"dequantization": "variationel"}, ValueError, "Did you mean .variational"),
        ({"dtype": "mixed_bfloat61"}, ValueError, "Did you mean 'mixed_bfloat16'"),
        ({"dtype": "mixed_float16"}, ValueError, "one of.*Received: dtype='mixed_fl"),
        ({"dtype": "bfloat16"}, ValueError, "`dtype` must.*mean 'mixed_bfloat16'"),
        ({"network_dtype": "bfloat16"}, TypeError, 'dtype="mixed_bfloat16"'),
        ({"chain": "a chain"}, TypeError, r"`chain`.*='a chain'.*`FlowModel\("),
        ({"num_levels": 4}, ValueError, r"divisible by 16\. Received: event_shape="),
        ({"coupling": "afine"}, ValueError, "Did you mean 'affine'"),
        ({"memory": "reversable"}, ValueError, "Did you mean 'reversible'"),
        ({"hiden_channels": 8}, TypeError, "hiden_channels"),
        ({"seed": -1}, ValueError, "`seed` must .* Received: seed=-1"),
    ],
)
def test_rejects_arguments(kwargs, error, message):
    with pytest.raises(error, match=message):
        tfg.GlowModel((8, 8, 1), **kwargs)


def test_rejects_dictionaries(model):
    batches = tf.data.Dataset.from_tensors({"image": images(4), "label": labels(4)})
    for method in (model.fit, model.evaluate):
        with pytest.raises(ValueError, match=r"Received: one of \['image', 'label'\]"):
            method(batches, verbose=0)


def test_labels_may_be_a_column_of_a_table(conditional):
    class Series(list):  # of pandas: Keras makes a column of one
        dtype, shape = np.dtype("int64"), (8,)

        def __array__(self, dtype=None, copy=None):
            return np.array(list(self), dtype)

    y = Series(labels(8).tolist())
    copy = conditional.with_dtype("float32")
    history = copy.fit(images(8), y, validation_data=(images(8), y), verbose=0).history
    assert np.isfinite(history["val_bits_per_dim"]).all()


def test_latents_may_be_a_variable_of_keras(model):
    z = model.encode(images(2))
    np.testing.assert_array_equal(model.decode(keras.Variable(z)), model.decode(z))


def test_no_batch_of_a_generator_is_lost_to_a_look_at_it():
    model, counts = tfg.GlowModel((8, 8, 1), **SMALL), []

    def batches():
        yield (images(4),)
        yield (images(4),)

    class Count(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            counts.append(self.model._loss_tracker.count.numpy())

    model.fit(images(4), validation_data=(batches(),), callbacks=[Count()], verbose=0)
    assert counts == [8]


def test_refuses_to_write_hdf5(model, tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.keras.*Received: .*x\.h5"):
        model.save(tmp_path / "x.h5")
    assert not any(tmp_path.iterdir())


def test_rejects_latents_of_another_size(model):
    with pytest.raises(ValueError, match=r"\[B, 64\]. Received: shape=\(2, 63\)"):
        model.decode(np.zeros([2, 63]))


def test_rejects_labels_and_temperatures_of_another_number(model, conditional):
    with pytest.raises(ValueError, match=r"shape \[4\].*Received: .*shape=\(1,\)"):
        conditional.log_prob(images(4), [1])
    with pytest.raises(ValueError, match=r"shape \[4\].*Received: .*shape=\(3,\)"):
        conditional.sample(4, labels=[0, 1, 2])
    with pytest.raises(ValueError, match=r"one number or 4.*Received: shape=\(3,\)"):
        model.sample(4, temperature=[1.0, 0.5, 0.2])
    with pytest.raises(ValueError, match="Received: num_noise_samples=0"):
        model.bits_per_dim(images(4), num_noise_samples=0)
    late = np.concatenate([labels(), [3]])  # not in the first batch
    with pytest.raises(ValueError, match="labels from 0 to 3"):
        conditional.fit(images(97), late, verbose=0)


def test_counts_from_numpy():
    counts = {"num_classes": labels().max() + 1, "hidden_channels": np.int32(8)}
    model = tfg.GlowModel((8, 8, 1), **(SMALL | counts))
    assert keras.saving.serialize_keras_object(model)["config"]["num_classes"] == 3


def test_arguments_of_numpy_and_tensorflow_are_stored_as_plain_ones(tmp_path):
    plain = {
        "context_shape": [3],
        "num_classes": 2,
        "weight_y": 0.25,
        "learn_top_prior": True,
        "unroll": True,
        "seed": 1,
    }
    other = {
        "context_shape": tf.TensorShape([3]),
        "num_classes": np.int64(2),
        "weight_y": np.float32(0.25),
        "learn_top_prior": np.bool_(True),
        "unroll": np.bool_(True),
        "seed": np.int64(1),
    }
    small = {"num_levels": 1, "num_steps": 1, "hidden_channels": 4, "name": "flow"}
    expected = json.dumps(tfg.GlowModel((4, 4, 1), **small, **plain).get_config())
    model = tfg.GlowModel(tf.TensorShape([4, 4, 1]), **small, **other)
    assert json.dumps(model.get_config()) == expected
    other["context_shape"] = [np.int64(3)]
    again = tfg.GlowModel(np.array([4, 4, 1]), **small, **other)
    assert json.dumps(again.get_config()) == expected
    model.save_pretrained(tmp_path)
    loaded = tfg.GlowModel.from_pretrained(tmp_path)
    assert json.dumps(loaded.get_config()) == expected
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == expected


def test_predict_takes_labels(conditional):
    x, y = images(), labels()
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(96)
    np.testing.assert_allclose(
        conditional.predict(dataset, verbose=0),
        conditional.log_prob(x, y, seed=0),
        rtol=1e-5,
    )


class Classifying(NamedTuple):
    """A model with a classifier, and what there was before its last epoch."""

    model: tfg.GlowModel
    history: dict[str, list[float]]
    file: Path
    weights: list[np.ndarray]


def one_epoch_more(model: tfg.GlowModel) -> dict[str, list[float]]:
    return model.fit(images(), labels(), shuffle=False, verbose=0).history


@pytest.fixture(scope="module")
def classifying(tmp_path_factory: pytest.TempPathFactory) -> Classifying:
    model = trained(num_classes=3, weight_y=0.5, num_bits=5)
    history, weights = model.history.history, model.get_weights()
    file = tmp_path_factory.mktemp("classifying") / "m.keras"
    model.save(file)
    one_epoch_more(model)
    return Classifying(model, history, file, weights)


def test_keras_file_holds_everything(classifying):
    model = classifying.model
    loaded = keras.models.load_model(classifying.file)
    assert loaded.get_config() == model.get_config()
    for one, other in zip(loaded.get_weights(), classifying.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    # Optimizer, step counter and "initialised" too: training goes on as it did.
    history = one_epoch_more(loaded)
    for name, values in model.history.history.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    assert_same_bits(loaded, model, labels())


def test_weight_y_trains_a_classifier(classifying):
    model, history, *_ = classifying
    assert list(history) == ["bits_per_dim", "gradient_norm", "label_bits", "loss"]
    loss = np.array(history["bits_per_dim"]) + 0.5 * np.array(history["label_bits"])
    np.testing.assert_allclose(history["loss"], loss, rtol=1e-5)
    assert history["label_bits"][-1] < history["label_bits"][0]
    kernel = model.classifier.parameters["kernel"]
    assert kernel.shape == [8, 3]
    assert any(weight.value is kernel for weight in model.trainable_variables)


def test_label_bits_are_those_of_the_logits_without_labels(classifying):
    x, y = images(), labels()
    model = classifying.model
    logits = model.class_logits(x, seed=3)
    assert logits.shape == (96, 3)
    log_p = tf.nn.log_softmax(logits).numpy()[np.arange(96), y]
    actual = model.label_bits(x, y, seed=3)
    np.testing.assert_allclose(actual, -log_p / np.log(2), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(
        model.predict(tf.data.Dataset.from_tensors((x, y)), verbose=0),
        model.log_prob(x, y, seed=0),
        rtol=1e-5,
    )


def test_weight_y_of_0_leaves_the_flow_as_it_is(conditional):
    with_classifier = trained(num_classes=3, weight_y=0.0)
    assert_same_bits(with_classifier, conditional, labels())
    assert not np.any(with_classifier.classifier.parameters["kernel"])


def test_rejects_weight_y(model):
    with pytest.raises(ValueError, match="needs `num_classes`.*Received: weight_y=0.5"):
        tfg.GlowModel((8, 8, 1), weight_y=0.5, **SMALL)
    for wrong in (-1.0, float("nan"), "1"):
        with pytest.raises(ValueError, match="`weight_y` must be a finite number"):
            tfg.GlowModel((8, 8, 1), num_classes=3, weight_y=wrong, **SMALL)
    for function in (model.class_logits, lambda x: model.label_bits(x, labels(4))):
        with pytest.raises(ValueError, match="has no classifier"):
            function(images(4))


def test_float64_model_takes_the_file_of_a_float32_model(conditional, tmp_path):
    conditional.save(tmp_path / "model.keras")
    exact = tfg.GlowModel((8, 8, 1), num_classes=3, dtype="float64", **SMALL)
    exact.load_weights(tmp_path / "model.keras")
    assert exact.glow.dtype == tf.float64
    copy = conditional.with_dtype("float64")
    for one, other in zip(exact.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for model in (exact, copy):
        assert {w.dtype for w in model.trainable_variables} == {"float64"}
    x, y = images(), labels()
    bits = exact.bits_per_dim(x, y, seed=0)
    assert bits.dtype == tf.float64
    np.testing.assert_allclose(bits, conditional.bits_per_dim(x, y, seed=0), rtol=1e-5)
    latents = copy.encode(x, y)
    assert latents.dtype == tf.float64
    error = copy.glow.forward(tf.identity(latents), labels=y) - (x + 0.5) / 256
    np.testing.assert_allclose(error, -0.5, rtol=0, atol=1e-12)


def test_summary_counts_the_classifier(classifying):
    lines, model = [], classifying.model
    model.summary(print_fn=lines.append)
    total = sum(np.size(w) for w in model.trainable_variables)
    assert f"{total:,} in {len(model.trainable_variables)}" in lines[0]


def test_networks_of_ours_from_network_fn_are_initialised_and_copied():
    def network_fn(channels_in: int, channels_out: int) -> GlowNetwork:
        return GlowNetwork(channels_in, channels_out, hidden_channels=8, seed=0)

    small = SMALL | {"num_levels": 1, "num_steps": 2}
    model = tfg.GlowModel((8, 8, 1), network_fn=network_fn, **small)
    model.fit(images(), epochs=1, verbose=0)
    assert tfg.bijectors.is_initialized(model.distribution)
    networks = model.glow.levels[0].networks
    assert np.any(networks[1].parameters["shift_1"] != 0)
    bits = model.with_dtype("float32").bits_per_dim(images(), seed=0)
    np.testing.assert_allclose(bits, model.bits_per_dim(images(), seed=0), rtol=1e-6)


@pytest.fixture(scope="module")
def mixed() -> tfg.GlowModel:
    return trained(dtype="mixed_bfloat16", memory="reversible")


def test_mixed_bfloat16_trains_variables_in_float32(mixed):
    assert {v.dtype for v in mixed.trainable_variables} == {"float32"}
    assert mixed.dtype_policy.name == "mixed_bfloat16"
    before = tfg.GlowModel((8, 8, 1), dtype="mixed_bfloat16", **SMALL)
    bits = [m.evaluate(images(), verbose=0, return_dict=True) for m in (before, mixed)]
    assert bits[1]["bits_per_dim"] < bits[0]["bits_per_dim"] - 1.0


def test_mixed_bfloat16_gives_nearly_the_bits_of_float32(mixed):
    precise = mixed.with_dtype("float32")
    bits, expected = (
        m.bits_per_dim(images(), seed=0).numpy() for m in (mixed, precise)
    )
    assert abs(bits.mean() - expected.mean()) < 0.01
    assert np.any(bits != expected)


def test_mixed_bfloat16_survives_saving_and_export(mixed, tmp_path):
    mixed.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    assert loaded.glow.memory == "reversible"
    assert_same_bits(loaded, mixed)
    mixed.export(tmp_path / "served")
    served = tf.saved_model.load(tmp_path / "served").signatures["encode"]
    latents = served(images=tf.constant(images(5)))["latents"]
    assert latents.dtype == tf.float32
    np.testing.assert_allclose(latents, mixed.encode(images(5)), atol=1e-5)


def test_training_tells_no_layer_within_a_network_that_it_trains():
    class Network(tf.Module):
        def __init__(self, channels_out):
            super().__init__()
            self.normalization = keras.layers.BatchNormalization()
            self.convolution = keras.layers.Conv2D(channels_out, 1)

        def __call__(self, x):
            return self.convolution(self.normalization(x))

    networks = []

    def network_fn(_, channels_out):
        networks.append(Network(channels_out))
        return networks[-1]

    model = tfg.GlowModel((8, 8, 1), num_levels=1, num_steps=1, network_fn=network_fn)
    kernel = networks[0].convolution.kernel.numpy()
    model.fit(images(), verbose=0)
    assert np.any(networks[0].convolution.kernel.numpy() != kernel)
    assert not np.any(networks[0].normalization.moving_mean.numpy())


def test_keras_s_policy_is_the_default():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tfg.GlowModel((8, 8, 1), **SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.dtype_policy.name == "mixed_bfloat16"
    network = model.glow.levels[0].steps[0].coupling.network
    assert network.compute_dtype == tf.bfloat16


def test_summary_says_precision_and_memory(mixed, capsys):
    mixed.summary()
    assert "Precision: mixed_bfloat16. Memory: reversible" in capsys.readouterr().out


def test_reversible_training_is_stored_training():
    models = [
        # More steps than are unrolled; labels go to the prior, past what is rebuilt.
        trained(memory=memory, num_levels=1, num_steps=5, num_classes=3)
        for memory in ("stored", "reversible")
    ]
    for one, other in zip(*(m.get_weights() for m in models), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
