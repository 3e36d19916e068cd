"""The SavedModel, as a server sees it: in a process that has TensorFlow alone."""

import os
import re
import subprocess
import sys
from importlib import metadata
from math import prod
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from packaging.requirements import Requirement

import tfp_glow as tfg

ROOT = Path(__file__).parents[1]
DIMENSIONS = {"H": 8, "W": 4, "C": 3}
EXPORTS = {
    "model": {},
    "merged": {"merge": True},
    "merged_bfloat16": {"merge": True, "precision": "bfloat16"},
}

# Runs where TensorFlow alone is installed, and writes what the signatures answer.
CLIENT = """
import sys
from importlib.util import find_spec
for name in ("tfp_glow", "tensorflow_probability", "tf_keras", "safetensors"):
    if find_spec(name):
        sys.exit(f"{name} is installed")
sys.modules["keras"] = None  # which TensorFlow brings along, and nobody needs
import numpy as np, tensorflow as tf
folder, num_classes = sys.argv[1], int(sys.argv[2])
given = dict(np.load(folder + "/given.npz"))
def ask(name, rows, **inputs):
    if num_classes:
        inputs["labels"] = given["labels"][:rows]
    inputs = {key: tf.constant(value[:rows]) for key, value in inputs.items()}
    for key, value in signatures[name](**inputs).items():
        answers[f"{name}/{rows}/{key}"] = value.numpy()
for export in sys.argv[3:]:
    signatures = tf.saved_model.load(f"{folder}/{export}").signatures
    answers = {}
    for rows in (5, 1, 0):
        for name in ("serving_default", "log_prob", "bits_per_dim", "encode"):
            ask(name, rows, images=given["images"])
        ask("decode", rows, latents=answers[f"encode/{rows}/latents"])
        ask("sample", rows, seed=given["seed"], temperature=given["temperature"])
    np.savez(f"{folder}/{export}.npz", **answers)
"""


def required(distribution: str, found: set[str]) -> set[str]:
    """A distribution and all that it requires."""
    found.add(distribution)
    for line in metadata.requires(distribution) or ():
        requirement = Requirement(line)
        is_wanted = requirement.marker is None or requirement.marker.evaluate()
        if is_wanted and requirement.name not in found:
            required(requirement.name, found)
    return found


@pytest.fixture(scope="module")
def tensorflow_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in which TensorFlow is, and what it requires."""
    folder = tmp_path_factory.mktemp("packages")
    for name in required("tensorflow", set()):
        distribution = metadata.distribution(name)
        for top in {Path(file).parts[0] for file in distribution.files} - {".."}:
            target = folder / top
            if not target.exists():
                target.symlink_to(distribution.locate_file(top))
    return folder


class Served(NamedTuple):
    """A model, what its exports were asked, and what each answered."""

    model: tfg.GlowModel
    given: dict[str, np.ndarray]
    answers: dict[str, dict[str, np.ndarray]]
    folder: Path


def serve(
    folder: Path, packages: Path, num_classes: int | None, exports: list[str]
) -> Served:
    """Makes a model, exports it, and asks the exports in another process."""
    model = tfg.GlowModel(
        (8, 4, 3),
        num_bits=6,
        num_levels=2,
        num_steps=1,
        hidden_channels=8,
        num_classes=num_classes,
        seed=0,
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 200, [64, 8, 4, 3], np.uint8)
    labels = {"labels": np.arange(64) % num_classes} if num_classes else {}
    tfg.initialize(model.distribution, tfg.dequantize(images, 6, seed=0), **labels)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.02, size=variable.shape))
    if num_classes:  # classes that differ clearly, as after a long training
        kernel = model.glow.chain.top_prior.class_prior.parameters["kernel"]
        kernel.assign(tf.random.stateless_normal(kernel.shape, [0, 0], stddev=0.5))
    for name in exports:
        model.export(folder / name, **EXPORTS[name])
    given = {
        "images": images[:5],
        "labels": np.arange(5, dtype=np.int32) % 3,
        "seed": np.array([1, 2, 3, 2, 2], np.int32),
        "temperature": np.array([1.0, 0.7, 0.7, 0.7, 0.0], np.float32),
    }
    np.savez(folder / "given.npz", **given)
    arguments = [str(folder), str(num_classes or 0), *exports]
    done = subprocess.run(
        [sys.executable, "-S", "-c", CLIENT, *arguments],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(packages)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers = {name: dict(np.load(folder / f"{name}.npz")) for name in exports}
    return Served(model, given, answers, folder)


@pytest.fixture(scope="module")
def plain(tensorflow_alone, tmp_path_factory) -> Served:
    return serve(tmp_path_factory.mktemp("plain"), tensorflow_alone, None, ["model"])


@pytest.fixture(scope="module")
def conditional(tensorflow_alone, tmp_path_factory) -> Served:
    folder = tmp_path_factory.mktemp("conditional")
    return serve(folder, tensorflow_alone, 3, [*EXPORTS])


@pytest.fixture(scope="module")
def loaded(conditional) -> tf.Module:
    return tf.saved_model.load(str(conditional.folder / "model"))


@pytest.fixture(scope="module", params=["plain", "conditional"])
def served(request: pytest.FixtureRequest) -> Served:
    return request.getfixturevalue(request.param)


def labels_of(model: tfg.GlowModel, given: dict) -> np.ndarray | None:
    return given["labels"] if model.glow.num_classes else None


def documented(*, has_classes: bool) -> dict[str, tuple[dict, dict]]:
    """Inputs and outputs of the signatures, as the README's only table has them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(
        r"\| signature \| inputs \| outputs \|\n(.*?)\n\n", text, re.S
    )
    found = {}
    for row in table.splitlines()[1:]:
        _, names, *specs, _ = row.split("|")
        inputs, outputs = map(specs_in, specs)
        for name in re.findall(r"`(\w+)`", names):
            found[name] = (inputs, outputs)
        if not re.search("`", names):  # what class-conditional models take besides
            of_classes = inputs
    if has_classes:
        found = {name: (i | of_classes, o) for name, (i, o) in found.items()}
    return found


def specs_in(cell: str) -> dict[str, tuple[list, str]]:
    """`images` uint8 `[B, H, W, C]` as {"images": ([None, 8, 4, 3], "uint8")}."""

    def size(dimension: str) -> int | None:
        factors = dimension.strip().split("*")
        return None if factors == ["B"] else prod(DIMENSIONS[f] for f in factors)

    return {
        name: ([size(dimension) for dimension in shape.split(",")], dtype)
        for name, dtype, shape in re.findall(r"`(\w+)` (\w+) `\[([^\]]+)\]`", cell)
    }


def test_saved_model_cli_shows_the_signatures_of_the_readme(served):
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show"]
    done = subprocess.run(
        [*command, "--dir", str(served.folder / [*served.answers][-1]), "--all"],
        check=True,
        capture_output=True,
        text=True,
    )
    shown = {}
    for block in done.stdout.split("signature_def[")[1:]:
        name = re.match(r"'(\w+)'", block)[1]
        if name.startswith("__"):
            continue
        shown[name] = tuple(
            {
                key: (
                    [None if n == "-1" else int(n) for n in shape.split(", ")],
                    dtype.lower().replace("float", "float32"),
                )
                for key, dtype, shape in re.findall(
                    rf"{kind}\['(\w+)'\] tensor_info:\s+dtype: DT_(\w+)\s+"
                    r"shape: \(([^)]+)\)",
                    block,
                )
            }
            for kind in ("inputs", "outputs")
        )
    assert len(shown) == 6
    assert shown == documented(has_classes=bool(served.model.glow.num_classes))


def test_a_layer_of_keras_gives_the_answers(served):
    model, given, answers, folder = served
    answers = answers["model"]
    rows = {"labels": given["labels"]} if model.glow.num_classes else {}
    rows = {key: tf.constant(value) for key, value in rows.items()}
    layer = keras.layers.TFSMLayer(folder / "model", call_endpoint="bits_per_dim")
    np.testing.assert_array_equal(
        layer(tf.constant(given["images"]), **rows)["bits_per_dim"],
        answers["bits_per_dim/5/bits_per_dim"],
    )
    layer = keras.layers.TFSMLayer(folder / "model", call_endpoint="sample")
    temperature = tf.constant(given["temperature"])
    images = layer(tf.constant(given["seed"]), temperature=temperature, **rows)
    np.testing.assert_array_equal(images["images"], answers["sample/5/images"])


def test_answers_are_the_models(served):
    model, given, answers, _ = served
    answers = answers["model"]
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


def test_a_row_alone_gets_the_same_answer(served):
    for export, answers in served.answers.items():
        for key, value in answers.items():
            name, rows, output = key.split("/")
            assert len(value) == int(rows)
            whole = answers[f"{name}/5/{output}"][: len(value)]
            check_same(value, whole, f"{export}/{key}")


def check_same(actual: np.ndarray, expected: np.ndarray, message: str) -> None:
    """As the rounding of float32 allows."""
    if actual.dtype == np.uint8:
        np.testing.assert_array_equal(actual, expected, err_msg=message)
    else:
        np.testing.assert_allclose(actual, expected, 1e-6, 1e-5, err_msg=message)


def test_rows_must_be_as_many_of_every_input(loaded):
    inputs = {"seed": 3, "temperature": 3, "labels": 3}
    for name in ("temperature", "labels"):
        rows = {key: tf.ones([n], "int32") for key, n in (inputs | {name: 1}).items()}
        rows["temperature"] = tf.cast(rows["temperature"], tf.float32)
        with pytest.raises(tf.errors.InvalidArgumentError, match="same number of rows"):
            loaded.signatures["sample"](**rows)


def test_merged_answers_are_the_same(conditional):
    merged, answers = (conditional.answers[name] for name in ("merged", "model"))
    assert set(merged) == set(answers)
    for key, value in answers.items():
        check_same(merged[key], value, key)


def test_bfloat16_answers_are_close(conditional):
    rounded, answers = (
        conditional.answers[name] for name in ("merged_bfloat16", "model")
    )
    bits, exact = (a["bits_per_dim/5/bits_per_dim"] for a in (rounded, answers))
    assert np.any(bits != exact)
    np.testing.assert_allclose(bits, exact, atol=0.02)
    pixels = rounded["decode/5/images"].astype(int)
    difference = np.abs(pixels - conditional.given["images"] // 4 * 4)
    assert np.mean(difference > 0) < 0.02
    assert difference.max() <= 4  # one level of 6 bits


def test_kernels_are_kept_once_in_the_type_that_they_compute_in(conditional):
    model, folder = conditional.model, conditional.folder / "merged_bfloat16"
    checkpoint = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
    types = checkpoint.get_variable_to_dtype_map()
    shapes = checkpoint.get_variable_to_shape_map()
    kernels = [name for name, shape in shapes.items() if len(shape) == 5]
    assert {types[name] for name in kernels} == {tf.bfloat16}
    assert len(kernels) == 3 * len(model.glow.levels)


def test_precision_that_does_not_exist(plain, tmp_path):
    with pytest.raises(ValueError, match="Received: precision='float16'"):
        plain.model.export(tmp_path / "m", precision="float16")
    assert not list(tmp_path.iterdir())


def test_the_noise_is_the_same_for_every_image(loaded, conditional):
    same = np.repeat(conditional.given["images"][:1], 3, axis=0)
    labels = tf.zeros([3], tf.int32)
    values = loaded.log_prob(tf.constant(same), labels)["log_prob"].numpy()
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_samples_follow_seed_temperature_and_label(served):
    model, given, answers, _ = served
    answers = answers["model"]
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


def test_it_names_no_class_of_ours(conditional):
    for export in EXPORTS:
        graph = (conditional.folder / export / "saved_model.pb").read_bytes()
        for name in (b"tfp_glow", b"keras", b"tensorflow_probability"):
            assert name not in graph.replace(str(Path.cwd()).encode(), b""), name


def test_only_saved_models_are_written(plain, tmp_path):
    with pytest.raises(ValueError, match="Received: format='onnx'"):
        plain.model.export(tmp_path / "m", format="onnx")
    assert not list(tmp_path.iterdir())
