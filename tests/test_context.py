import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.context import check_context_shape, context_at

SHAPE = (8, 8, 1)
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 200, [64, *SHAPE], np.uint8)
# What is modelled is nearly the context: whoever sees it needs few bits.
IMAGES = GREY + RNG.integers(0, 4, GREY.shape, np.uint8)
VECTORS = RNG.normal(size=[64, 3]).astype("float32")


def make_model(context_shape=SHAPE, **arguments):
    defaults = {"num_levels": 1, "num_steps": 2, "hidden_channels": 16, "seed": 0}
    return tfg.GlowModel(SHAPE, context_shape=context_shape, **defaults | arguments)


def perturbed_model(context_shape, **arguments):
    model = make_model(context_shape, **arguments)
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.05, size=variable.shape))
    return model


CONTEXTS = pytest.mark.parametrize(
    ("context_shape", "context"),
    [((3,), VECTORS[:4]), (SHAPE, GREY[:4])],
    ids=["vector", "image"],
)


def test_an_image_is_squeezed_as_what_is_modelled_and_broadcast():
    context = tf.reshape(tf.range(2 * 8 * 8 * 3.0), [2, 1, 8, 8, 3])
    x = tf.zeros([2, 5, 2, 2, 7])
    found = context_at(context, (2, 2, 48), x, "flow")
    assert found.shape == [10, 2, 2, 48]
    # Of its first image the block of 4 x 4 pixels at the upper right.
    block = context[0, 0, :4, 4:]
    np.testing.assert_array_equal(found[3, 0, 1], tf.reshape(block, [48]))
    np.testing.assert_array_equal(found[4], found[0])
    assert np.all(found[5] != found[0])


def test_a_vector_belongs_to_each_image():
    found = context_at(VECTORS[:2], (3,), tf.zeros([4, 2, 2, 2, 6]), "flow")
    np.testing.assert_array_equal(found, np.tile(VECTORS[:2], [4, 1]))


def test_nobody_takes_pixels_for_what_they_are_not():
    model = make_model()
    x = tfg.dequantize(IMAGES[:4], seed=0)
    with pytest.raises(TypeError, match=r"uint8.* by `\(context \+ 0.5\) / 256 - 0.5`"):
        model.distribution.log_prob(x, bijector_kwargs={"context": GREY[:4]})
    kwargs = {"context": (GREY[:4] + 0.5) / 256 - 0.5}
    expected = model.log_prob(IMAGES[:4], seed=0, context=GREY[:4])
    log_prob = model.distribution.log_prob(x, bijector_kwargs=kwargs)
    np.testing.assert_allclose(log_prob - 64 * np.log(256), expected, rtol=1e-5)
    with pytest.raises(TypeError, match="of vectors .* Received: dtype=uint8"):
        make_model((3,)).sample(2, context=np.ones([2, 3], np.uint8))


@pytest.mark.parametrize("context", [np.zeros([2, 8, 8, 2]), np.zeros([2, 6, 8, 3])])
def test_context_of_another_shape(context):
    with pytest.raises(
        ValueError, match=r"`context` must have shape .* Received.* or make the"
    ):
        context_at(context, (2, 2, 48), tf.zeros([2, 2, 2, 7]), "flow")


@pytest.mark.parametrize("num_contexts", [4, 2, 0])
@CONTEXTS
def test_contexts_of_another_number(context_shape, context, num_contexts):
    glow = perturbed_model(context_shape).glow
    x, context = np.zeros([3, *SHAPE], "float32"), context[:num_contexts] / 255
    with pytest.raises(ValueError, match="one an image or one for all"):
        glow.inverse(x, context=context)
    traced = tf.function(
        lambda x, context: glow.inverse(x, context=context),
        input_signature=[
            tf.TensorSpec([None, *SHAPE]),
            tf.TensorSpec([None, *context_shape]),
        ],
    )
    with pytest.raises(tf.errors.InvalidArgumentError):
        traced(x, np.float32(context))
    x, one = np.float32(IMAGES[:3] / 255), np.float32(GREY[:1] / 255)
    one = one if len(context_shape) == 3 else VECTORS[:1]
    expected = glow.inverse(x, context=np.repeat(one, 3, axis=0))
    np.testing.assert_allclose(traced(x, one), expected, atol=1e-5)


@CONTEXTS
def test_shape_of_a_context_may_be_unknown(context_shape, context):
    glow = perturbed_model(context_shape, num_levels=2).glow
    x, context = np.float32(IMAGES[:4] / 255), np.float32(context / 255)
    shapes = [[None] * 4, [None] * context.ndim]
    traced = tf.function(
        lambda x, context: glow.inverse(x, context=context),
        input_signature=[tf.TensorSpec(shape) for shape in shapes],
    )
    expected = glow.inverse(x, context=context)
    np.testing.assert_allclose(traced(x, context), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"`context` must have shape .*<unknown>"):
        tf.function(lambda c: glow.inverse(x, context=c)).get_concrete_function(
            tf.TensorSpec(None)
        )


def test_height_and_width_of_a_coupling_s_context_may_be_any():
    coupling = tfg.GlowAffineCoupling(
        4, hidden_channels=8, context_shape=[None, None, 2], seed=0
    )
    x, context = RNG.normal(size=[2, 3, 5, 4]), RNG.normal(size=[2, 3, 5, 2])
    x, context = np.float32(x), np.float32(context)
    traced = tf.function(
        lambda x, context: coupling.inverse(x, context=context),
        input_signature=[
            tf.TensorSpec([None, None, None, 4]),
            tf.TensorSpec([None, None, None, None]),
        ],
    )
    expected = coupling.inverse(x, context=context)
    np.testing.assert_allclose(traced(x, context), expected, atol=1e-6)


@pytest.mark.parametrize("context_shape", [(), (2, 2), (0,), "vector"])
def test_context_shape_that_is_none(context_shape):
    with pytest.raises(ValueError, match="context_shape"):
        check_context_shape(context_shape)
    with pytest.raises(ValueError, match="context_shape"):
        make_model(context_shape)


def test_context_shape_that_does_not_fit_the_images():
    with pytest.raises(ValueError, match=r"height and width .*\(8, 8\)"):
        make_model((4, 4, 1))


@pytest.mark.parametrize("as_dataset", [False, True])
def test_fit_learns_what_the_context_says(as_dataset):
    keras.utils.set_random_seed(0)
    model = make_model()
    model.compile(keras.optimizers.Adam(0.005, clipnorm=1.0))
    if as_dataset:
        pairs = tf.data.Dataset.from_tensor_slices((GREY, IMAGES)).batch(32)
        history = model.fit(pairs, epochs=60, verbose=0)
        (_, measured) = model.evaluate(pairs, verbose=0)
    else:
        history = model.fit((GREY, IMAGES), epochs=60, verbose=0)
        (_, measured) = model.evaluate((GREY, IMAGES), verbose=0)
    # Without the context 7.6 bits are needed: the logarithm of 200.
    assert history.history["bits_per_dim"][-1] < 6
    own = model.bits_per_dim(IMAGES, context=GREY, seed=0)
    others = model.bits_per_dim(IMAGES, context=GREY[::-1], seed=0)
    np.testing.assert_allclose(measured, np.mean(own), atol=0.1)
    assert np.mean(others) > np.mean(own) + 1
    samples = model.sample(64, temperature=0.1, context=GREY, seed=0)
    errors = np.abs(np.asarray(samples, int) - IMAGES)
    assert np.mean(errors) < np.mean(np.abs(IMAGES[::-1].astype(int) - IMAGES)) / 2


@CONTEXTS
def test_every_use_sees_the_context(context_shape, context):
    model = perturbed_model(context_shape, num_steps=1)
    images, other = IMAGES[:4], context[::-1]
    for use in (
        lambda c: model.log_prob(images, seed=0, context=c),
        lambda c: model.encode(images, context=c),
        lambda c: model.sample(4, seed=0, context=c),
        lambda c: model((c, images)),
        lambda c: model.predict((c, images), verbose=0),
    ):
        assert np.any(np.asarray(use(context)) != np.asarray(use(other)))
    latents = model.encode(images, context=context)
    decoded = model.decode(tf.identity(latents), context=context)
    np.testing.assert_array_equal(decoded, images)
    one_for_all = model.sample(4, seed=0, context=context[0])
    np.testing.assert_array_equal(
        one_for_all, model.sample(4, seed=0, context=np.stack([context[0]] * 4))
    )


@CONTEXTS
def test_classes_and_context(context_shape, context):
    model = perturbed_model(context_shape, num_steps=1, num_classes=3, weight_y=0.1)
    labels = np.array([0, 1, 2, 0])
    model.fit((context, IMAGES[:4]), labels, epochs=1, verbose=0)
    first = model.log_prob(IMAGES[:4], labels, seed=0, context=context)
    second = model.log_prob(IMAGES[:4], (labels + 1) % 3, seed=0, context=context)
    assert np.all(first != second)
    logits = model.class_logits(IMAGES[:4], seed=0, context=context)
    assert logits.shape == [4, 3]
    np.testing.assert_allclose(
        model((context, IMAGES[:4], labels))[1],
        model.label_bits(IMAGES[:4], labels, seed=0, context=context),
        rtol=1e-5,
    )


@CONTEXTS
def test_saved_and_exported(context_shape, context, tmp_path):
    model = perturbed_model(context_shape, num_steps=1)
    expected = model.encode(IMAGES[:4], context=context)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.encode(IMAGES[:4], context=context), expected)
    model.export(tmp_path / "exported", merge=True)
    served = tf.saved_model.load(str(tmp_path / "exported")).signatures
    floats = context if context.dtype == np.float32 else (context + 0.5) / 256 - 0.5
    floats = tf.constant(floats, tf.float32)
    latents = served["encode"](images=tf.constant(IMAGES[:4]), context=floats)
    np.testing.assert_allclose(latents["latents"], expected, atol=1e-5)
    images = served["sample"](
        seed=tf.range(4), temperature=tf.fill([4], 0.5), context=floats
    )
    assert images["images"].shape == [4, *SHAPE]


@CONTEXTS
def test_check_invertibility_walks_with_the_context(context_shape, context):
    model = perturbed_model(context_shape, num_levels=2, num_steps=1)
    report = tfg.check_invertibility(model, IMAGES[:4], context=context, num_samples=6)
    assert report.num_wrong_pixels == 0
    assert report.is_invertible
    coupling = model.glow.levels[1].steps[0].coupling
    assert coupling.network.parameters["kernel_1"].shape[2] == 4 + 1 + (
        16 if context_shape == SHAPE else 0
    )


def test_missing_or_unwanted_context():
    model = make_model((3,))
    with pytest.raises(ValueError, match=r"`glow` needs `context`, \[\.\.\., 3\]"):
        model.log_prob(IMAGES[:4])
    with pytest.raises(ValueError, match=r"\[4, 3\], one an image.*\(2, 3\)"):
        model.log_prob(IMAGES[:4], context=VECTORS[:2])
    with pytest.raises(ValueError, match=r"x must be \(context, images\)"):
        model.fit(IMAGES, verbose=0)
    without = make_model(None)
    with pytest.raises(ValueError, match="takes no `context`"):
        without.sample(4, context=VECTORS[:4])
    with pytest.raises(ValueError, match=r"x must be images. Received: x of 2"):
        without.fit((VECTORS, IMAGES), verbose=0)
