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
from absl.testing import flagsaver
from packaging.requirements import Requirement
from tensorflow.python.tools import saved_model_cli

import tfp_glow as tfg
from tfp_glow.bijectors.step_sequence import StepSequence

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
def ask(name, rows, **inputs):
    if "labels" in given:
        inputs["labels"] = given["labels"]
    inputs = {key: tf.constant(value[:rows]) for key, value in inputs.items()}
    for key, value in signatures[name](**inputs).items():
        answers[f"{name}/{rows}/{key}"] = value.numpy()
for export in sys.argv[1:]:
    given = dict(np.load(f"{export}/../given.npz"))
    signatures = tf.saved_model.load(export).signatures
    answers = {}
    for rows in (5, 1, 0):
        for name in ("serving_default", "log_prob", "bits_per_dim", "encode"):
            ask(name, rows, images=given["images"])
        ask("decode", rows, latents=answers[f"encode/{rows}/latents"])
        ask("sample", rows, seed=given["seed"], temperature=given["temperature"])
    np.savez(f"{export}.npz", **answers)
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


def make_exports(
    folder: Path, num_classes: int | None, exports: list[str]
) -> tuple[tfg.GlowModel, dict[str, np.ndarray]]:
    """A model that is exported, and what there is to ask of it."""
    model = tfg.GlowModel(
        (8, 4, 3),
        num_bits=6,
        num_levels=2 if num_classes else 1,
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
    given = {
        "images": images[:5],
        "seed": np.array([1, 2, 3, 2, 2], np.int32),
        "temperature": np.array([1.0, 0.7, 0.7, 0.7, 0.0], np.float32),
    }
    if num_classes:  # classes that differ clearly, as after a long training
        kernel = model.glow.chain.top_prior.class_prior.parameters["kernel"]
        kernel.assign(tf.random.stateless_normal(kernel.shape, [0, 0], stddev=0.5))
        given["labels"] = np.arange(5, dtype=np.int32) % 3
    for name in exports:
        model.export(folder / name, **EXPORTS[name])
    np.savez(folder / "given.npz", **given)
    return model, given


@pytest.fixture(scope="module")
def all_served(tensorflow_alone, tmp_path_factory) -> dict[str, Served]:
    """Models with and without classes, which one other process has asked."""
    root = tmp_path_factory.mktemp("served")
    asked = {"plain": (None, ["model"]), "conditional": (3, [*EXPORTS])}
    made = {}
    for kind, (num_classes, exports) in asked.items():
        (root / kind).mkdir()
        made[kind] = make_exports(root / kind, num_classes, exports)
    done = subprocess.run(
        [
            *[sys.executable, "-S", "-c", CLIENT],
            *[str(root / kind / name) for kind in asked for name in asked[kind][1]],
        ],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(tensorflow_alone)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = {}
    for kind, (_, exports) in asked.items():
        answers = {name: dict(np.load(root / kind / f"{name}.npz")) for name in exports}
        found[kind] = Served(*made[kind], answers, root / kind)
    return found


@pytest.fixture(scope="module")
def plain(all_served) -> Served:
    return all_served["plain"]


@pytest.fixture(scope="module")
def conditional(all_served) -> Served:
    return all_served["conditional"]


@pytest.fixture(scope="module")
def loaded(conditional) -> tf.Module:
    return tf.saved_model.load(str(conditional.folder / "model"))


@pytest.fixture(params=["plain", "conditional"])
def served(request: pytest.FixtureRequest, all_served: dict[str, Served]) -> Served:
    return all_served[request.param]


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


def test_saved_model_cli_shows_the_signatures_of_the_readme(
    served, monkeypatch, capsys
):
    folder = served.folder / [*served.answers][-1]
    command = ["saved_model_cli", "show", "--dir", str(folder), "--all"]
    monkeypatch.setattr(sys, "argv", command)
    with flagsaver.flagsaver(), pytest.raises(SystemExit) as done:
        saved_model_cli.main()
    assert not done.value.code
    shown = {}
    for block in capsys.readouterr().out.split("signature_def[")[1:]:
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


@pytest.mark.parametrize(
    ("kind", "name", "output"),
    [("plain", "sample", "images"), ("conditional", "bits_per_dim", "bits_per_dim")],
)
def test_a_layer_of_keras_gives_the_answers(all_served, kind, name, output):
    _, given, answers, folder = all_served[kind]
    layer = keras.layers.TFSMLayer(folder / "model", call_endpoint=name)
    first, *names = {
        "sample": ["seed", "temperature"],
        "bits_per_dim": ["images", "labels"],
    }[name]
    rest = {key: tf.constant(given[key]) for key in names}
    np.testing.assert_array_equal(
        layer(tf.constant(given[first]), **rest)[output],
        answers["model"][f"{name}/5/{output}"],
    )


def test_answers_are_the_models(served):
    model, given, answers, _ = served
    answers = answers["model"]
    labels = given.get("labels")
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
    labels = given.get("labels")
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


def test_how_reversible_levels_go_back_is_not_exported(tmp_path, monkeypatch):
    model = tfg.GlowModel(
        (4, 4, 1), num_levels=1, num_steps=1, hidden_channels=4, memory="reversible"
    )

    def fail(*args, **kwargs):
        raise OSError("not to be called, or not to be written to")

    monkeypatch.setattr(StepSequence, "run_reversible", fail)
    model.export(tmp_path / "exported")
    assert model.glow.memory == "reversible"
    monkeypatch.setattr(tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="not to be written to"):
        model.export(tmp_path / "another")
    assert model.glow.memory == "reversible"
