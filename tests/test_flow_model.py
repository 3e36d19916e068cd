"""`FlowModel`: any TFP distribution, trained by Keras."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg
from tfp_glow._first_batch import first_batch

tfb = tfp.bijectors
tfd = tfp.distributions


def vectors(num: int = 512) -> np.ndarray:
    """Correlated, shifted, skewed: what a flow has to learn."""
    z = np.random.default_rng(0).normal(size=[num, 4])
    mix = np.array([[2.0, 1, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 1], [0, 0, 0, 3]])
    return (z @ mix + np.array([5.0, -3, 0, 10])).astype("float32")


def vector_distribution() -> tfd.Distribution:
    """Ours and TFP's bijectors in somebody's own chain."""
    chain = tfb.Chain(
        [
            tfg.ActNormBijector(4),
            tfg.LUInvertibleConv(4, seed=0),
            tfb.Scale(tf.Variable(tf.ones([4]))),
            tfb.Shift(tf.Variable(tf.zeros([4]))),
        ]
    )
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [4]), chain)


def act_norm_distribution() -> tfd.Distribution:
    """The least that is initialised and trained."""
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    return tfd.TransformedDistribution(base, tfg.ActNormBijector(4))


def image_distribution() -> tfd.Distribution:
    chain = tfb.Chain(
        [
            tfb.Scale(tf.Variable(2.0)),
            tfg.Squeeze(),
            tfg.ActNormBijector(4),
            tfb.Permute([3, 2, 1, 0]),
            tfg.GlowAffineCoupling(4, hidden_channels=8, seed=0),
            tfb.Reshape([4, 4, 4], [64]),
        ]
    )
    return tfd.TransformedDistribution(tfd.Sample(tfd.Normal(0.0, 1.0), [64]), chain)


def images(num: int = 128) -> np.ndarray:
    """Smooth images: neighbouring pixels are alike."""
    noise = np.random.default_rng(0).normal(size=[num, 10, 10, 1])
    smooth = noise[:, :8, :8] + noise[:, 1:9, :8] + noise[:, :8, 1:9]
    return (0.1 * smooth).astype("float32")


@pytest.mark.parametrize(
    ("distribution", "x"),
    [(vector_distribution, vectors), (image_distribution, images)],
    ids=["vectors", "images"],
)
def test_trains_somebodys_own_chain_with_nothing_but_fit(distribution, x):
    model = tfg.FlowModel(distribution())
    before = [v.numpy() for v in model.distribution.trainable_variables]
    history = model.fit(x(), epochs=8, verbose=0).history["loss"]
    assert history[-1] < history[0]
    for old, variable in zip(
        before, model.distribution.trainable_variables, strict=True
    ):
        assert np.any(old != variable.numpy()), variable.name
    # What Keras logs is what the distribution says.
    expected = -np.mean(model.distribution.log_prob(x()))
    np.testing.assert_allclose(model.evaluate(x(), verbose=0), expected, rtol=1e-4)


def test_reaches_the_likelihood_of_the_true_distribution():
    x = vectors(2048)
    keras.utils.set_random_seed(0)
    model = tfg.FlowModel(vector_distribution())
    decay = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=40 * 8)
    model.compile(keras.optimizers.Adam(decay))
    model.fit(x, epochs=40, batch_size=256, verbose=0)
    covariance = np.cov(x.T, bias=True)
    entropy = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert abs(model.evaluate(x, verbose=0) - entropy) < 1e-3


def test_keras_tracks_exactly_the_variables_of_the_distribution():
    distribution = image_distribution()
    model = tfg.FlowModel(distribution)

    def same(keras_variables, tf_variables) -> bool:
        return [id(v.value) for v in keras_variables] == [id(v) for v in tf_variables]

    assert same(model.trainable_variables, distribution.trainable_variables)
    assert same(
        model.non_trainable_variables,
        [v for v in distribution.variables if not v.trainable],
    )
    assert len(model.trainable_variables) == 12


def test_a_users_keras_network_is_trained():
    network = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(4, 3, padding="same"),
        ]
    )
    bijector = tfg.GlowAffineCoupling(4, network=network)
    flow = tfb.Chain([tfg.Squeeze(), bijector, tfb.Reshape([4, 4, 4], [64])])
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [64])
    model = tfg.FlowModel(tfd.TransformedDistribution(base, flow))
    before = [w.copy() for w in network.get_weights()]
    model.fit(images(), epochs=1, verbose=0)
    assert len(before) == 4
    for old, new in zip(before, network.get_weights(), strict=True):
        assert np.any(old != new)


def test_layers_that_keras_does_not_train_are_not_trained():
    network = keras.Sequential(
        [
            keras.layers.Conv2D(8, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(4, 3, padding="same"),
        ]
    )
    bijector = tfg.GlowAffineCoupling(4, network=network)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2, 2, 4])
    model = tfg.FlowModel(tfd.TransformedDistribution(base, bijector))
    x = np.random.default_rng(0).normal(size=[32, 2, 2, 4]).astype("float32")
    for is_trained in (True, False, True):
        network.layers[0].trainable = is_trained
        model.compile()
        before = [layer.kernel.numpy() for layer in network.layers]
        model.fit(x, epochs=1, verbose=0)
        is_same = [
            np.array_equal(old, layer.kernel)
            for old, layer in zip(before, network.layers, strict=True)
        ]
        assert is_same == [not is_trained, False]


@pytest.mark.parametrize("first", ["model", "layer"])
def test_what_a_model_or_a_layer_has_frozen_is_trained_when_neither_has(first):
    network = keras.layers.Conv2D(4, 3, padding="same")
    bijector = tfg.GlowAffineCoupling(4, network=network)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [2, 2, 4])
    model = tfg.FlowModel(tfd.TransformedDistribution(base, bijector))
    x = np.random.default_rng(0).normal(size=[8, 2, 2, 4]).astype("float32")
    of_model = next(v for v in model.variables if v.value is network.bias.value)
    of_layer = network.bias
    sides = [of_model, of_layer] if first == "model" else [of_layer, of_model]
    steps = [(0, False), (1, False), (0, True), (1, True)]
    for side, is_trained in steps:
        sides[side].trainable = is_trained
        model.compile()
        before = network.bias.numpy()
        model.fit(x, verbose=0)
        expected = (side, is_trained) == steps[-1]
        assert of_model.trainable == expected
        assert np.any(network.bias != before) == expected


@keras.saving.register_keras_serializable(package="tests_of_flow_model")
def one_layer(channels_in: int, channels_out: int) -> keras.layers.Layer:
    return keras.layers.Conv2D(channels_out, 3, padding="same")


def test_a_loaded_model_knows_who_has_frozen_what(tmp_path):
    def sides(model):
        """The kernel in its layer, and the bias in the model."""
        layer = model.glow.levels[0].networks[0].network
        bias = next(v for v in model.variables if v.value is layer.bias.value)
        return [layer.kernel, bias]

    model = tfg.GlowModel((4, 4, 1), num_levels=1, num_steps=1, network_fn=one_layer)
    for side in sides(model):
        side.trainable = False
    model.compile()
    model.fit(np.zeros([8, 4, 4, 1], np.uint8), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.trainable_variables) == 8
    assert [side.trainable for side in sides(loaded)] == [False, False]
    for side in sides(loaded):
        side.trainable = True
    loaded.compile()
    assert len(loaded.trainable_variables) == 10


def test_of_an_older_model_the_layers_have_frozen_what_is_theirs():
    """Which was noted without a word of who it was."""
    model = tfg.GlowModel((4, 4, 1), num_levels=1, num_steps=1, network_fn=one_layer)
    model.glow.levels[0].networks[0].network.trainable = False
    model.compile()
    config = model.get_compile_config()
    config["frozen"] += config.pop("frozen_by_layers")
    other = tfg.GlowModel.from_config(model.get_config())
    other.compile_from_config(config)
    num_trained = len(other.trainable_variables)
    layer = other.glow.levels[0].networks[0].network
    for variable in layer.variables:
        assert not variable.trainable
        variable.trainable = True
    other.compile()
    assert len(other.trainable_variables) == num_trained + 2


def weighted(weights):
    """The loss of weighted batches, as a model whose weights stay gives it."""
    model = tfg.FlowModel(act_norm_distribution())
    model.compile(keras.optimizers.SGD(0.0))
    tfg.initialize(model.distribution, vectors(8))
    data = tf.data.Dataset.from_tensors((vectors(8), None, weights))
    return model.fit(data, verbose=0).history["loss"], model.evaluate(data, verbose=0)


def test_weights_of_examples_may_be_a_column():
    weights = np.arange(8.0)
    expected, (column, evaluated) = weighted(weights), weighted(weights[:, np.newaxis])
    assert (column, evaluated) == expected
    # The examples are unequal, so that it matters which weight goes with which.
    assert evaluated != pytest.approx(weighted(np.full(8, weights.mean()))[1])


def test_weights_of_labelled_images_may_be_a_column():
    options = {"num_levels": 1, "num_steps": 1, "hidden_channels": 4, "num_classes": 2}
    model = tfg.GlowModel((4, 4, 1), weight_y=0.5, seed=0, **options)
    x = np.random.default_rng(0).integers(0, 256, [8, 4, 4, 1], np.uint8)
    y, weights = np.arange(8) % 2, np.array([4.0, 0, 0, 0, 4, 0, 0, 0])
    few = model.evaluate(x[::4], y[::4], verbose=0, return_dict=True)
    found = [
        model.evaluate(x, y, sample_weight=weight, verbose=0, return_dict=True)
        for weight in (weights, weights[:, np.newaxis])
    ]
    assert found[0] == found[1]
    assert set(found[0]) == {"loss", "bits_per_dim", "label_bits"}
    # Their noise is that of the same places in the batch, and another one.
    assert found[0]["label_bits"] == pytest.approx(few["label_bits"], rel=0.1)


@pytest.mark.parametrize("shape", [[], [1], [7], [8, 2], [1, 8], [8, 1, 1]])
def test_other_weights_of_examples_are_refused(shape):
    with pytest.raises(ValueError, match=r"`sample_weight` must have.*Received: shape"):
        weighted(np.ones(shape))


@pytest.mark.parametrize("num", [1, 7])
def test_weights_of_unknown_number_are_not_repeated(num):
    data = tf.data.Dataset.from_tensor_slices
    x, weights = data(vectors(8)).batch(8), data(np.ones(num)).batch(num)
    x = tf.data.Dataset.zip(x, weights).map(lambda x, weight: (x, None, weight))
    model = tfg.FlowModel(act_norm_distribution())
    with pytest.raises(tf.errors.InvalidArgumentError, match="one number an example"):
        model.fit(x, verbose=0)


def test_a_chain_of_float64_is_initialised_and_trained():
    chain = tfb.Chain(
        [
            tfg.ActNormBijector(4, dtype=tf.float64),
            tfg.LUInvertibleConv(4, dtype=tf.float64, seed=0),
        ]
    )
    assert chain.dtype is None
    base = tfd.Sample(tfd.Normal(np.float64(0.0), np.float64(1.0)), [4])
    model = tfg.FlowModel(tfd.TransformedDistribution(base, chain))
    for x in (vectors().astype("float64"), vectors()):
        losses = model.fit(x, epochs=2, verbose=0).history["loss"]
    assert chain.bijectors[0].shift.dtype == tf.float64
    assert np.all(np.isfinite(losses))
    assert chain.bijectors[0].initialized.numpy()


def test_a_batch_that_is_trained_on_alone_initialises_too():
    x = vectors(64)
    batches, whole = (tfg.FlowModel(act_norm_distribution()) for _ in range(2))
    batches.train_on_batch(x)
    whole.fit(x, batch_size=64, shuffle=False, verbose=0)
    for one, other in zip(batches.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3)
    trained = batches.distribution.bijector.shift.numpy()
    batches.optimizer.learning_rate = 0.0
    batches.fit(x + 100.0, epochs=1, verbose=0)  # which would initialise it anew
    np.testing.assert_array_equal(batches.distribution.bijector.shift, trained)


@pytest.mark.parametrize("num_labels", [5, 17])
def test_data_of_two_sizes_is_refused(num_labels):
    model = tfg.GlowModel(
        (8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4, num_classes=2
    )
    x, y = np.zeros([16, 8, 8, 1], np.uint8), [0] * num_labels
    with pytest.raises(ValueError, match=r"as many examples\. Received: shapes \[\(16"):
        model.fit(x, y, verbose=0)


def test_first_batch_initialises_once_and_never_a_trained_bijector():
    x = vectors()
    model = tfg.FlowModel(vector_distribution())
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(x, batch_size=512, epochs=1, verbose=0)
    act_norm = model.distribution.bijector.bijectors[0]
    assert act_norm.initialized.numpy()
    z = act_norm.inverse(x)
    np.testing.assert_allclose(tf.reduce_mean(z, 0), np.zeros(4), atol=1e-4)
    np.testing.assert_allclose(tf.math.reduce_std(z, 0), np.ones(4), atol=1e-3)
    act_norm.shift.assign([1.0, 2.0, 3.0, 4.0])
    model.fit(x, batch_size=512, epochs=1, verbose=0)
    np.testing.assert_array_equal(act_norm.shift, [1.0, 2.0, 3.0, 4.0])
    # A second model of the same distribution knows that it is initialised.
    again = tfg.FlowModel(model.distribution)
    again.compile(keras.optimizers.SGD(0.0))
    again.fit(x, batch_size=512, epochs=1, verbose=0)
    np.testing.assert_array_equal(act_norm.shift, [1.0, 2.0, 3.0, 4.0])


def test_initialisation_sees_all_of_a_sorted_array():
    x = np.sort(vectors(), axis=0)
    model = tfg.FlowModel(act_norm_distribution())
    model.compile(keras.optimizers.SGD(0.0))
    model.fit(x, batch_size=64, epochs=1, verbose=0)
    z = model.distribution.bijector.inverse(x)
    np.testing.assert_allclose(tf.reduce_mean(z, 0), np.zeros(4), atol=0.1)


class Batches(keras.utils.PyDataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[np.ndarray]:
        return (vectors()[index * 128 : (index + 1) * 128],)


class EndlessBatches(keras.utils.PyDataset):
    num_batches = None  # and no length

    def __getitem__(self, index):
        return (vectors()[:128] + index % 2,)


def test_an_endless_pydataset_is_trained_on():
    model = tfg.FlowModel(act_norm_distribution())
    history = model.fit(EndlessBatches(), steps_per_epoch=3, verbose=0).history
    assert np.isfinite(history["loss"]).all()


@pytest.mark.parametrize(
    "data",
    [
        lambda: vectors(),
        lambda: tf.constant(vectors()),
        lambda: tf.data.Dataset.from_tensor_slices(vectors()).batch(128),
        lambda: Batches(),
        lambda: ((batch,) for batch in np.split(vectors(), 4)),
    ],
    ids=["numpy", "tensor", "tf.data", "PyDataset", "generator"],
)
def test_every_kind_of_data(data):
    model = tfg.FlowModel(act_norm_distribution())
    model.compile(keras.optimizers.SGD(0.0))
    loss = model.fit(data(), batch_size=128, epochs=1, verbose=0).history["loss"][0]
    assert tfg.bijectors.is_initialized(model.distribution)
    np.testing.assert_allclose(
        loss, -np.mean(model.distribution.log_prob(vectors())), rtol=1e-4
    )


def test_a_data_set_trains_without_a_warning(recwarn):
    data = tf.data.Dataset.from_tensor_slices(vectors(8)).batch(4)
    tfg.FlowModel(act_norm_distribution()).fit(data, epochs=1, verbose=0)
    assert not [w for w in recwarn if "shuffle" in str(w.message)]


def test_weights_are_saved_and_loaded(tmp_path):
    x = vectors()
    model = tfg.FlowModel(vector_distribution())
    model.fit(x, epochs=1, verbose=0)
    model.save_weights(tmp_path / "w.weights.h5")
    other = tfg.FlowModel(vector_distribution())
    other.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_allclose(
        other.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-5
    )
    # The saved state includes that it is initialised.
    assert tfg.bijectors.is_initialized(other.distribution)


def test_xla_trains_to_the_same_loss():
    losses = []
    for jit_compile in (False, True):
        model = tfg.FlowModel(image_distribution())
        model.compile(keras.optimizers.Adamax(1e-2), jit_compile=jit_compile)
        fit = model.fit(images(), epochs=2, batch_size=64, shuffle=False, verbose=0)
        losses.append(fit.history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_default_is_adamax_and_xla_on_gpu_only():
    model = tfg.FlowModel(vector_distribution())
    model.compile()
    assert isinstance(model.optimizer, keras.optimizers.Adamax)
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 1e-3)
    assert model.jit_compile == bool(tf.config.list_physical_devices("GPU"))


def test_rejects_what_it_cannot_train():
    with pytest.raises(TypeError, match=r"must be a TFP distribution.*Received"):
        tfg.FlowModel(tfb.Exp())
    model = tfg.FlowModel(vector_distribution())
    with pytest.raises(ValueError, match="cannot be chosen.*Received: loss='mse'"):
        model.compile(loss="mse")
    with pytest.raises(ValueError, match="trains on x alone.*Received: targets"):
        model.fit(vectors(), np.zeros(512), verbose=0)
    with pytest.raises(ValueError, match="Received: an empty data set"):
        model.fit(vectors()[:0], verbose=0)
    with pytest.raises(ValueError, match="float32.*int32|int32.*float32"):
        model(np.ones([2, 4], np.int32))  # counts have no density
    with pytest.raises(ValueError, match="Received: sample_weight without y"):
        model.fit(vectors(), sample_weight=np.ones(512), verbose=0)
    expected = r"must have shape \['...', 4\]. Received: shape=\(32, 5\)"
    before = [v.numpy() for v in model.trainable_variables]
    with pytest.raises(ValueError, match=expected):
        model.fit(np.ones([64, 5], np.float32), verbose=0)
    for value, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(variable, value)
    with pytest.raises(NotImplementedError, match="save_weights"):
        model.get_config()


def test_float64_arrays_and_targets_anywhere():
    x = vectors().astype("float64")  # what numpy makes unasked
    model = tfg.FlowModel(act_norm_distribution())
    model.fit(x, epochs=1, verbose=0)
    assert tfg.bijectors.is_initialized(model.distribution)
    for call in (
        lambda: model.evaluate(x, np.zeros(512), verbose=0),
        lambda: model.fit(x, validation_data=(x, np.zeros(512)), verbose=0),
    ):
        with pytest.raises(ValueError, match="Received: targets"):
            call()
    with pytest.raises(ValueError, match="Received: metrics="):
        model.compile(metrics=["mae"])


def test_a_flow_of_float64_trains_on_arrays_and_one_of_float32_on_any_data():
    base = tfd.Sample(tfd.Normal(np.float64(0), 1.0), [4])
    flow = tfg.ActNormBijector(4, dtype=tf.float64)
    double = tfg.FlowModel(tfd.TransformedDistribution(base, flow))
    single = tfg.FlowModel(act_norm_distribution())
    x = vectors().astype("float64")
    losses = []
    for model, data in (
        (double, x),
        (single, tf.data.Dataset.from_tensor_slices(x).batch(512)),
    ):
        model.compile(keras.optimizers.SGD(1e-2))
        losses.append(model.fit(data, batch_size=512, epochs=2, verbose=0))
        assert model(x).dtype == model.distribution.dtype
    np.testing.assert_allclose(
        losses[0].history["loss"], losses[1].history["loss"], rtol=1e-5
    )


def test_initialises_within_distributions_and_says_where_it_cannot():
    x = vectors()
    inside = tfg.FlowModel(tfd.Independent(act_norm_distribution(), 0))
    inside.fit(x, verbose=0)
    assert tfg.bijectors.is_initialized(inside.distribution)
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    inverted = tfb.Invert(tfg.ActNormBijector(4))
    model = tfg.FlowModel(tfd.TransformedDistribution(base, inverted))
    with pytest.warns(UserWarning, match="act-norms that `fit` cannot") as found:
        model.fit(x, verbose=0)
    assert __file__ in [warning.filename for warning in found]


def test_says_where_there_is_nothing_to_train():
    model = tfg.FlowModel(tfd.Sample(tfd.Normal(0.0, 1.0), [4]))
    with pytest.raises(ValueError, match="nothing to train.*without a `tf.Variable`"):
        model.fit(vectors(), verbose=0)


def test_each_machine_chooses_anew_whether_to_use_xla():
    for asked in ("auto", True, False):
        model = tfg.FlowModel(act_norm_distribution())
        model.compile(jit_compile=asked)
        assert model.get_compile_config()["jit_compile"] == asked
        again = tfg.FlowModel(act_norm_distribution())
        again.compile_from_config(model.get_compile_config())
        assert again.get_compile_config()["jit_compile"] == asked
        assert again.jit_compile == model.jit_compile


def test_first_batch_of_somebody_else_s_loader():
    class Loader:  # as PyTorch's: no array, and no data set of Keras or TensorFlow
        def __iter__(self):
            yield [[Tensor(), vectors(2)], np.arange(3)]
            raise AssertionError("It wants one batch.")

    class Tensor:  # on a GPU
        def cpu(self):
            return vectors(3)

    (context, x), y = first_batch(Loader(), None, 32)
    np.testing.assert_array_equal(context, vectors(3))
    np.testing.assert_array_equal(x, vectors(2))
    np.testing.assert_array_equal(y, np.arange(3))


def test_initialize_forgets_what_was_cached():
    bijector = tfg.ActNormBijector(4)
    x = tf.constant(vectors())
    before = bijector.inverse(x)
    tfg.initialize(bijector, x)
    after = bijector.inverse(x)  # the very tensor
    np.testing.assert_allclose(tf.reduce_mean(after, 0), np.zeros(4), atol=1e-4)
    np.testing.assert_array_equal(before, x)


def test_norm_of_the_gradient_is_logged_and_clipped():
    x = vectors(64)
    rate = 1e-2

    def fit(
        *,
        jit_compile: bool = False,
        validation_data: np.ndarray | None = None,
        **options,
    ) -> tuple[list[np.ndarray], dict[str, list[float]]]:
        model = tfg.FlowModel(vector_distribution())
        tfg.initialize(model.distribution, x)
        for variable in model.distribution.trainable_variables:
            variable.assign_add(0.1 * tf.ones_like(variable))
        before = [v.numpy() for v in model.distribution.trainable_variables]
        model.compile(keras.optimizers.SGD(rate), jit_compile=jit_compile, **options)
        history = model.fit(
            x, batch_size=64, validation_data=validation_data, verbose=0
        ).history
        after = [v.numpy() for v in model.distribution.trainable_variables]
        changes = [b - a for a, b in zip(after, before, strict=True)]
        return changes, history

    changes, history = fit(validation_data=x)
    norm = np.sqrt(sum(np.sum(np.square(c / rate)) for c in changes))
    assert norm > 1
    assert set(history) == {"loss", "gradient_norm", "val_loss"}
    np.testing.assert_allclose(history["gradient_norm"], [norm], rtol=1e-3)
    for jit_compile in (False, True):
        clipped, history = fit(clip_norm=norm / 4, jit_compile=jit_compile)
        np.testing.assert_allclose(history["gradient_norm"], [norm], rtol=1e-3)
        for one, other in zip(clipped, changes, strict=True):
            np.testing.assert_allclose(one, other / 4, rtol=1e-3, atol=1e-5)
    # A longer one clips nothing; whether XLA compiles it is all the same to that.
    for one, other in zip(fit(clip_norm=2 * norm)[0], changes, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


def test_rejects_a_norm_that_cannot_be():
    with pytest.raises(ValueError, match="`clip_norm` must be.*Received: clip_norm=0"):
        tfg.FlowModel(vector_distribution()).compile(clip_norm=0)


class OneTracker(tfg.FlowModel):
    """Names its metrics as Keras's guide to custom training loops does."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.loss_tracker]


def test_a_subclass_may_have_metrics_of_its_own_alone():
    model, x = OneTracker(act_norm_distribution()), vectors(64)
    history = model.fit(x, validation_data=x, verbose=0).history
    assert sorted(history) == ["loss", "val_loss"]
    expected = -float(np.mean(model.distribution.log_prob(x)))
    np.testing.assert_allclose(history["val_loss"], [expected], rtol=1e-5)


def test_weights_for_one_call_are_refused():
    model, x = tfg.FlowModel(act_norm_distribution()), vectors(4)
    weights = [0.0 * v for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    with pytest.raises(NotImplementedError, match="FlowModel other weights.*Assign"):
        model.stateless_call(weights, others, x)
