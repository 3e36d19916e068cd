"""The SavedModel, as a server sees it: in a process that has TensorFlow alone."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg

# Runs where none of these can be imported, and writes what the signatures answer.
CLIENT = """
import sys
for name in ("tfp_glow", "tensorflow_probability", "tf_keras", "keras"):
    sys.modules[name] = None
import numpy as np, tensorflow as tf
folder, num_classes = sys.argv[1], int(sys.argv[2])
signatures = tf.saved_model.load(folder + "/model").signatures
given = dict(np.load(folder + "/given.npz"))
answers = {}
def ask(name, rows, **inputs):
    if num_classes:
        inputs["labels"] = given["labels"][:rows]
    inputs = {key: tf.constant(value[:rows]) for key, value in inputs.items()}
    for key, value in signatures[name](**inputs).items():
        answers[f"{name}/{rows}/{key}"] = value.numpy()
for rows in (5, 2):
    for name in ("serving_default", "log_prob", "bits_per_dim", "encode"):
        ask(name, rows, images=given["images"])
    ask("decode", rows, latents=answers[f"encode/{rows}/latents"])
    ask("sample", rows, seed=given["seed"], temperature=given["temperature"])
np.savez(folder + "/answers.npz", **answers)
"""


@pytest.fixture(scope="module", params=[None, 3], ids=["plain", "conditional"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[tfg.GlowModel, dict, dict, Path]:
    """A trained model, what its export was asked, and what it answered."""
    folder = tmp_path_factory.mktemp("served")
    model = tfg.GlowModel(
        (8, 4, 3),
        num_bits=6,
        num_levels=2,
        num_steps=2,
        hidden_channels=8,
        num_classes=request.param,
        seed=0,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, [64, 8, 4, 3], np.uint8)
    labels = np.arange(64) % 3 if request.param else None
    keras.utils.set_random_seed(0)
    model.fit(images, labels, epochs=3, verbose=0)
    if request.param:  # classes that differ clearly, as after a long training
        kernel = model.glow.chain.top_prior.class_prior.parameters["kernel"]
        kernel.assign(tf.random.stateless_normal(kernel.shape, [0, 0], stddev=0.5))
    model.export(folder / "model")
    given = {
        "images": images[:5],
        "labels": np.arange(5, dtype=np.int32) % 3,
        "seed": np.array([1, 2, 3, 2, 2], np.int32),
        "temperature": np.array([1.0, 0.7, 0.7, 0.7, 0.0], np.float32),
    }
    np.savez(folder / "given.npz", **given)
    subprocess.run(
        [sys.executable, "-c", CLIENT, str(folder), str(request.param or 0)],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    return model, given, dict(np.load(folder / "answers.npz")), folder


def labels_of(model: tfg.GlowModel, given: dict) -> np.ndarray | None:
    return given["labels"] if model.glow.num_classes else None


def test_signatures_have_the_documented_inputs_and_outputs(served):
    model, _, _, folder = served
    labels = {"labels": ([None], "int32")} if model.glow.num_classes else {}
    images = {"images": ([None, 8, 4, 3], "uint8")}
    expected = {
        "serving_default": (images, {"log_prob": ([None], "float32")}),
        "log_prob": (images, {"log_prob": ([None], "float32")}),
        "bits_per_dim": (images, {"bits_per_dim": ([None], "float32")}),
        "encode": (images, {"latents": ([None, 96], "float32")}),
        "decode": ({"latents": ([None, 96], "float32")}, images),
        "sample": (
            {"seed": ([None], "int32"), "temperature": ([None], "float32")},
            images,
        ),
    }
    signatures = tf.saved_model.load(str(folder / "model")).signatures
    assert set(signatures) == set(expected)

    def described(specs: dict) -> dict:
        return {k: (s.shape.as_list(), s.dtype.name) for k, s in specs.items()}

    for name, (inputs, outputs) in expected.items():
        _, kwargs = signatures[name].structured_input_signature
        assert described(kwargs) == inputs | labels, name
        assert described(signatures[name].structured_outputs) == outputs, name


def test_answers_are_the_models(served):
    model, given, answers, _ = served
    labels = labels_of(model, given)
    z = answers["encode/5/latents"]
    np.testing.assert_allclose(z, model.encode(given["images"], labels), atol=1e-4)
    np.testing.assert_array_equal(answers["decode/5/images"], given["images"] // 4 * 4)
    np.testing.assert_allclose(
        answers["bits_per_dim/5/bits_per_dim"],
        -answers["log_prob/5/log_prob"] / 96 / np.log(2),
        rtol=1e-5,
    )
    np.testing.assert_array_equal(
        answers["serving_default/5/log_prob"], answers["log_prob/5/log_prob"]
    )
    many = [model.log_prob(given["images"], labels, seed=i) for i in range(20)]
    spread = np.std(many, axis=0)
    assert np.all(
        np.abs(answers["log_prob/5/log_prob"] - np.mean(many, 0)) < 5 * spread + 1e-3
    )


def test_a_row_does_not_depend_on_its_batch(served):
    _, _, answers, _ = served
    for key, value in answers.items():
        name, rows, output = key.split("/")
        if rows == "2":
            whole = answers[f"{name}/5/{output}"][:2]
            if value.dtype == np.uint8:
                np.testing.assert_array_equal(value, whole)
            else:
                np.testing.assert_allclose(value, whole, rtol=1e-4, atol=1e-4)


def test_the_noise_is_the_same_for_every_image(served):
    model, given, _, folder = served
    log_prob = tf.saved_model.load(str(folder / "model")).signatures["log_prob"]
    labels = {}
    if model.glow.num_classes:
        labels = {"labels": tf.zeros([3], tf.int32)}
    same = np.repeat(given["images"][:1], 3, axis=0)
    values = log_prob(images=tf.constant(same), **labels)["log_prob"].numpy()
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_samples_follow_seed_temperature_and_label(served):
    model, given, answers, _ = served
    x = answers["sample/5/images"]
    assert np.any(x[1] != x[2])  # another seed
    if model.glow.num_classes:
        assert np.any(x[1] != x[3])  # the same seed and temperature, another label
    else:
        np.testing.assert_array_equal(x[1], x[3])
    assert np.any(x[3] != x[4])  # another temperature
    z = tf.random.stateless_normal([96], [2, 0])[tf.newaxis] * 0.7
    labels = labels_of(model, given)
    expected = model.decode(z, None if labels is None else labels[1:2])
    difference = np.abs(x[1].astype(int) - expected[0].numpy().astype(int))
    assert np.mean(difference > 0) < 0.02  # at most a pixel on a bin's edge
    assert difference.max() <= 4


def test_it_names_no_class_of_ours(served):
    *_, folder = served
    graph = (folder / "model" / "saved_model.pb").read_bytes()
    for name in (b"tfp_glow", b"keras", b"tensorflow_probability"):
        assert name not in graph.replace(str(Path.cwd()).encode(), b""), name


def test_only_saved_models_are_written(tmp_path):
    model = tfg.GlowModel((8, 8, 1), num_levels=1, num_steps=1, hidden_channels=4)
    with pytest.raises(ValueError, match="Received: format='onnx'"):
        model.export(tmp_path / "m", format="onnx")
    assert not list(tmp_path.iterdir())
    assert json.dumps(model.get_config())  # the configuration is plain data
