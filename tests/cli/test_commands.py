"""One tiny run through the installed command, and everything that comes of it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from matplotlib.image import imread

from tfp_glow import data
from tfp_glow.cli import main
from tfp_glow.cli import sample as sample_command
from tfp_glow.cli.run_folder import load_run
from tfp_glow.glow_model import GlowModel

ROOT = Path(__file__).parents[2]
SCRIPT = Path(sys.executable).with_name("tfp-glow")
COMMAND = [str(SCRIPT)] if SCRIPT.exists() else [sys.executable, "-m", "tfp_glow.cli"]
TINY = ["--num-levels=1", "--num-steps=1", "--hidden-channels=8", "--epochs=2"]
TINY += ["--limit=128"]
OLD = ["samples-t0.7-seed0.png", "interpolation-0-1.gif", "manipulation-0-1.png"]
OLD += ["attributes.npz"]

pytestmark = pytest.mark.usefixtures("models_loaded_once")


def tfp_glow(*arguments) -> str:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder, which tests read only, and what was printed."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    printed = tfp_glow("train", "--dataset", "digits", "--output", folder, *TINY)
    return folder, printed


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run folder to write to."""
    return shutil.copytree(trained[0], tmp_path / "run")


@pytest.fixture(scope="module")
def conditional(tmp_path_factory):
    """A run that replaced another one; tests add files to it and change none."""
    folder = tmp_path_factory.mktemp("runs") / "conditional"
    folder.mkdir()
    (folder / "config.json").write_text('{"format_version": 1, "dataset": "digits"}')
    for name in [*OLD, "metrics.json", "model.keras"]:
        (folder / name).write_bytes(b"of the old model")
    options = ["--conditional", "--limit=256", "--seed=7"]
    options += ["--num-noise-samples=3", "--learning-rate=1", "--decay=constant"]
    options += ["--memory=reversible", "--dtype=mixed_bfloat16", "--unroll"]
    train = ["train", "--dataset=digits", f"--output={folder}", *TINY, *options]
    assert main([*train, "--overwrite"]) == 0
    return folder


def read_json(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def check_picture(file: Path, min_size: int) -> None:
    picture = imread(file)
    assert min(picture.shape[:2]) >= min_size
    assert picture[..., :3].std() > 0.05


def test_writes_what_was_asked_for(trained):
    folder, _ = trained
    config = read_json(folder / "config.json")
    expected = {"format_version": 1, "dataset": "digits", "preset": "digits"}
    assert config | expected | {"limit": 128, "seed": 0} == config
    model = {"num_levels": 1, "num_steps": 1, "hidden_channels": 8, "num_bits": 4}
    assert config["model"] | model | {"coupling": "affine"} == config["model"]
    assert config["model"]["event_shape"] == [8, 8, 1]
    assert config["training"]["epochs"] == 2
    assert config["training"]["learning_rate"] == 2e-3
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "history.csv",
        "logs",
        "metrics.json",
        "model.keras",
        "samples.png",
        "training.png",
    ]


def test_metrics_are_those_of_the_kept_model(trained):
    folder, _ = trained
    metrics = read_json(folder / "metrics.json")
    with (folder / "history.csv").open(newline="") as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["0", "1"]
    validation = [float(row["val_bits_per_dim"]) for row in history]
    assert metrics["best_epoch"] == 1 + np.argmin(validation)
    assert metrics["validation_bits_per_dim"] == min(validation)
    assert metrics["training_seconds"] > 0
    assert metrics["versions"]["keras"] == keras.__version__

    model = keras.models.load_model(folder / "model.keras")
    num_parameters = sum(np.size(w) for w in model.trainable_variables)
    assert metrics["trainable_parameters"] == num_parameters
    images, _ = data.load_arrays("digits", "validation")
    kept = model.evaluate(images, batch_size=64, return_dict=True, verbose=0)
    assert kept["bits_per_dim"] == pytest.approx(min(validation), abs=1e-5)
    images, _ = data.load_arrays("digits", "test")
    held_out = metrics["held_out"]
    bits = model.bits_per_dim(images, seed=5)
    error = np.std(bits, ddof=1) / np.sqrt(200)
    assert held_out["num_images"] == 200
    assert held_out["num_noise_samples"] == 1
    assert held_out["standard_error"] == pytest.approx(error, rel=0.1)
    # Other noise, so the same to a part of the error alone.
    assert held_out["bits_per_dim"] == pytest.approx(np.mean(bits), abs=error)


def test_evaluate_agrees_with_metrics_and_heeds_its_options(trained, capsys):
    folder, _ = trained

    def evaluate(*options) -> dict:
        assert main(["evaluate", str(folder), "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)

    # Another process than that of the training.
    found, expected = evaluate(), read_json(folder / "metrics.json")["held_out"]
    assert found.pop("dataset") == "digits"
    for name in ("bits_per_dim", "standard_error"):
        assert found.pop(name) == pytest.approx(expected.pop(name), abs=1e-5)
    assert found == expected

    first = evaluate("--limit=150")  # two batches
    assert first == evaluate("--limit=150")
    assert first["num_images"] == 150
    more = evaluate("--limit=150", "--num-noise-samples=8")
    assert more["bits_per_dim"] < first["bits_per_dim"]
    assert evaluate("--limit=150", "--seed=1")["bits_per_dim"] != first["bits_per_dim"]
    assert evaluate("--limit=150", "--split=train")["split"] == "train"


def test_evaluate_prints_a_sentence(trained, capsys):
    assert main(["evaluate", str(trained[0]), "--limit=20"]) == 0
    printed = capsys.readouterr().out
    assert "bits/dim" in printed
    assert "±" in printed
    assert "20 test images of digits, 1 draw of noise" in printed


def test_train_prints_a_summary(trained):
    folder, printed = trained
    metrics = read_json(folder / "metrics.json")
    lines = printed.splitlines()
    assert any(
        line.startswith("Glow") and f"{metrics['held_out']['bits_per_dim']:.4f}" in line
        for line in lines
    )
    for baseline in metrics["baselines"].values():
        assert f"{baseline['bits_per_dim']:.4f}" in printed
    assert lines[-5:] == [
        f"  tfp-glow sample {folder}",
        f"  tfp-glow evaluate {folder}",
        f"  tfp-glow check {folder}",
        f"  tfp-glow demo {folder}",
        f"  tfp-glow export {folder} DIR",
    ]


def test_pictures_show_something(trained):
    folder, _ = trained
    check_picture(folder / "samples.png", min_size=600)
    check_picture(folder / "training.png", min_size=300)
    assert list(folder.glob("logs/validation/events*"))


def test_sample(run, capsys, monkeypatch):
    options = ["--num-samples=130", "--temperature=0.8", "--seed=3"]
    assert main(["sample", str(run), *options]) == 0
    grid, array = map(Path, capsys.readouterr().out.split())
    assert grid == run / "samples-t0.8-seed3-num130.png"
    check_picture(grid, min_size=400)
    images = np.load(array)
    assert images.dtype == np.uint8
    assert images.shape == (130, 8, 8, 1)
    # The second batch is no copy of the first.
    assert (images[128:] != images[:2]).any(axis=(1, 2, 3)).all()

    other = run / "deep" / "other.png"
    assert main(["sample", str(run), *options, f"--output={other}"]) == 0
    np.testing.assert_array_equal(np.load(other.with_suffix(".npy")), images)
    before = other.read_bytes()
    again = ["sample", str(run), f"--output={other}"]
    with monkeypatch.context() as patch:
        patch.delattr(sample_command, "draw")  # It fails before anything is drawn.
        assert main(again) == 1
        assert "is there already" in capsys.readouterr().err
        patch.setattr(os, "access", lambda path, mode: False)
        assert main([*again, "--overwrite"]) == 1
        assert f"no permission to write to {other.parent}" in capsys.readouterr().err
    assert other.read_bytes() == before
    assert main([*again, "--overwrite"]) == 0
    assert other.read_bytes() != before

    # At temperature zero it is one image.
    assert main(["sample", str(run), "--temperature=0", "--num-samples=3"]) == 0
    images = np.load(run / "samples-t0-seed0-num3.npy")
    folder = other.parent
    assert main(["sample", str(run), "--num-samples=1", f"--output={folder}"]) == 0
    assert (folder / "samples-t0.7-seed0-num1.png").exists()
    assert (images == images[:1]).all()


def test_export(conditional, tmp_path, capsys):
    """Of a model with classes, as it is; another test exports without, and merged."""
    directory = tmp_path / "exported"
    assert main(["export", str(conditional), str(directory), "--name=digits"]) == 0
    version = directory / "digits" / "1"
    printed = capsys.readouterr().out
    assert f"\n{version}\n" in printed
    exported = {"precision": "bfloat16", "merge": False}
    assert read_json(version / "metrics.json")["export"] == exported
    signatures = tf.saved_model.load(str(version)).signatures
    assert all(f"\n{name} " in printed for name in signatures)
    images, labels = data.load_arrays("digits", "validation")
    inputs = {"images": tf.constant(images), "labels": tf.constant(labels, tf.int32)}
    encode = signatures["encode"](**inputs)["latents"]
    model = load_run(conditional).model
    np.testing.assert_allclose(encode, model.encode(images, labels), atol=1e-4)
    # The lines that are printed do what they say.
    assert "labels=tf.range(4)" in printed
    names = {"tf": tf}
    exec("\n".join(line.strip() for line in printed.splitlines()[-2:]), names)
    assert names["images"].shape == (4, 8, 8, 1)

    with (conditional / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    best = rows[read_json(conditional / "metrics.json")["best_epoch"] - 1]
    averaged, raw = (
        float(best[name]) for name in ("val_bits_per_dim", "val_bits_per_dim_raw")
    )
    bits = signatures["bits_per_dim"](**inputs)["bits_per_dim"]
    # Other noise gives other bits, by far less than the weights do.
    assert abs(averaged - raw) > 0.05
    assert np.mean(bits) == pytest.approx(averaged, abs=0.02)


def test_export_leaves_all_that_a_service_needs(run, tmp_path):
    versions = tmp_path / "models" / run.name
    (versions / "9").mkdir(parents=True)
    export = ["export", str(run), str(tmp_path / "models")]
    assert main([*export, "--merge", "--precision=bfloat16"]) == 0
    assert sorted(path.name for path in versions.iterdir()) == ["10", "9"]
    version = versions / "10"
    assert {path.name for path in version.iterdir()} >= {
        *("saved_model.pb", "variables", "MODEL_CARD.md", "metrics.json"),
        *("samples.png", "config.json", "model.safetensors"),
    }
    check_picture(version / "samples.png", min_size=400)
    metrics = read_json(run / "metrics.json")
    exported = {"precision": "bfloat16", "merge": True}
    assert read_json(version / "metrics.json") == metrics | {"export": exported}
    card = (version / "MODEL_CARD.md").read_text(encoding="utf-8")
    bits, error = (
        metrics["held_out"][name] for name in ("bits_per_dim", "standard_error")
    )
    assert f"**{bits:.4f}** ± {error:.4f}" in card
    assert "CC BY 4.0 (https://doi.org/10.24432/C50P49)" in card
    assert f"seconds on {metrics['machine']}" in card
    assert "bfloat16 networks, merged" in card
    images, _ = data.load_arrays("digits", "test", limit=3)
    exact = load_run(run).model.encode(images)
    again = GlowModel.from_pretrained(versions).encode(images)
    np.testing.assert_array_equal(again, exact)
    served = tf.saved_model.load(str(version))
    rounded = served.encode(tf.constant(images))["latents"]
    np.testing.assert_allclose(rounded, exact, atol=0.1)
    variables = tf.train.load_checkpoint(str(version / "variables" / "variables"))
    # Neither has it without merging, nor the model that is merged.
    assert tf.bfloat16 in variables.get_variable_to_dtype_map().values()


def test_export_fails_before_anything_is_written(run, tmp_path, capsys):
    def error_of(*options) -> str:
        assert main(["export", str(run), *map(str, options)]) == 1
        return capsys.readouterr().err

    # The folder of runs, where the run itself has the model's name.
    before = sorted(run.iterdir())
    assert "must hold versions of a model" in error_of(run.parent)
    assert sorted(run.iterdir()) == before
    (tmp_path / "letter.txt").write_text("Dear")
    assert "is a file" in error_of(tmp_path / "letter.txt")
    assert "is a file" in error_of(tmp_path, "--name=letter.txt")
    odd = run.rename(tmp_path / "12")
    assert main(["export", str(odd), str(tmp_path / "models")]) == 1
    assert "Name it with --name" in capsys.readouterr().err
    (odd / "metrics.json").write_text("{")
    assert main(["export", str(odd), str(tmp_path / "models"), "--name=a"]) == 1
    assert "metrics.json was not written by" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_export_that_fails_half_way_leaves_nothing(run, tmp_path, monkeypatch):
    def fail(model, folder, **_):
        (folder / "saved_model.pb").touch()
        raise OSError("No space left on device")

    monkeypatch.setattr("tfp_glow.glow_model.GlowModel.export", fail)
    assert main(["export", str(run), str(tmp_path / "models")]) == 1
    assert not list((tmp_path / "models").iterdir())


def test_conditional_run(conditional, capsys):
    def error_of(*options) -> str:
        assert main(["sample", str(conditional), *options]) == 1
        return capsys.readouterr().err

    capsys.readouterr()
    assert "10 classes: choose one with --label" in error_of()
    assert "Received: --label 10" in error_of("--label=10")
    assert "Received: --label -1" in error_of("--label=-1")
    assert main(["sample", str(conditional), "--label=3", "--num-samples=2"]) == 0
    (array,) = conditional.glob("samples-label3-t0.7-seed0-num2.npy")
    assert np.load(array).shape == (2, 8, 8, 1)


def test_label_without_classes(trained, capsys):
    assert main(["sample", str(trained[0]), "--label=3"]) == 1
    assert "no classes. Leave --label out" in capsys.readouterr().err


@pytest.mark.parametrize("temperature", ["-1", "nan", "inf"])
def test_temperature_that_cannot_be(trained, capsys, temperature):
    folder, _ = trained
    assert main(["sample", str(folder), f"--temperature={temperature}"]) == 1
    assert "`temperature` must be a finite number" in capsys.readouterr().err
    assert not list(folder.glob("samples-*"))


def test_unknown_split(trained, capsys):
    assert main(["evaluate", str(trained[0]), "--split=tset"]) == 1
    assert "Did you mean 'test'?" in capsys.readouterr().err


def test_run_folder_is_not_replaced_unasked(run, capsys):
    before = read_json(run / "metrics.json")
    train = ["train", "--dataset=digits", f"--output={run}", *TINY]
    assert main(train) == 1
    assert "--overwrite" in capsys.readouterr().err
    # Nor when it turns out that there is nothing to replace it with.
    assert main([*train, "--overwrite", "--num-levels=4"]) == 1
    assert "divisible by 16" in capsys.readouterr().err
    assert read_json(run / "metrics.json") == before
    assert (run / "model.keras").exists()


def test_overwrite_replaces_a_run(conditional):
    assert read_json(conditional / "config.json")["seed"] == 7
    assert read_json(conditional / "metrics.json")["num_epochs"] == 2
    assert (conditional / "model.keras").read_bytes() != b"of the old model"
    assert not [name for name in OLD if (conditional / name).exists()]
    assert not (conditional / ".replaced").exists()


def test_overwrite_that_diverges_brings_the_old_run_back(run, capsys):
    (run / "notes.txt").write_text("mine")
    before = {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()}
    train = ["train", "--dataset=digits", f"--output={run}", *TINY, "--overwrite"]
    assert main([*train, "--learning-rate=1e30"]) == 1
    assert "diverged" in capsys.readouterr().err
    assert {p.name: p.read_bytes() for p in run.iterdir() if p.is_file()} == before
    assert not (run / ".replaced").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1000], "was cut short"),
        (lambda content: b"hello", "is no Keras file"),
        (lambda content: content.replace(b"config", b"comfig"), "cannot be loaded"),
    ],
    ids=["cut short", "other file", "other zip file"],
)
def test_damaged_model(run, capsys, damage, message):
    file = run / "model.keras"
    file.write_bytes(damage(file.read_bytes()))
    assert main(["evaluate", str(run)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert f"Train again with the options in {run / 'config.json'}" in error


def test_a_model_that_is_no_glow(run, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.save(run / "model.keras")
    assert main(["evaluate", str(run)]) == 1
    error = capsys.readouterr().err
    assert f"{run / 'model.keras'} must hold a GlowModel. Received: a Seq" in error
    assert "Train again with the options in" in error


def test_model_is_missing(run, capsys):
    (run / "model.keras").unlink()
    assert main(["evaluate", str(run)]) == 1
    assert "has no model.keras" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format_version": 1}'])
def test_damaged_configuration(run, capsys, content):
    (run / "config.json").write_text(content)
    assert main(["evaluate", str(run)]) == 1
    assert "not written by `tfp-glow train`, or is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": None}, "'class_names' must be of type list. Received: None"),
        ({"dataset": 7}, "'dataset' must be of type str | None. Received: 7"),
        ({"imported_from": []}, "'imported_from' must be of type str. Received: []"),
    ],
)
def test_configuration_with_a_value_of_another_type(run, capsys, change, message):
    config = read_json(run / "config.json") | change
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(run)]) == 1
    assert f"{run / 'config.json'} is damaged: {message}" in capsys.readouterr().err


def test_configuration_of_a_later_version(run, capsys):
    config = read_json(run / "config.json") | {"format_version": 2}
    (run / "config.json").write_text(json.dumps(config))
    assert main(["evaluate", str(run)]) == 1
    assert "Upgrade tfp_glow" in capsys.readouterr().err


def test_memory_precision_and_draws_of_noise_of_a_run(conditional, capsys):
    model = read_json(conditional / "config.json")["model"]
    assert (model["memory"], model["dtype"]) == ("reversible", "mixed_bfloat16")
    assert model["unroll"] is True
    loaded = load_run(conditional).model
    assert loaded.glow.memory == "reversible"
    assert loaded.dtype_policy.name == "mixed_bfloat16"
    held_out = read_json(conditional / "metrics.json")["held_out"]
    assert held_out["num_noise_samples"] == 3
    bits = []
    for options in ([], ["--dtype=float32"]):
        evaluate = ["evaluate", str(conditional), "--json", "--num-noise-samples=3"]
        assert main([*evaluate, *options]) == 0
        bits.append(json.loads(capsys.readouterr().out)["bits_per_dim"])
    assert bits[0] == pytest.approx(held_out["bits_per_dim"], abs=1e-5)
    assert bits[0] != bits[1]
    assert abs(bits[0] - bits[1]) < 0.01


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ("--memory=reverse", "'auto', 'stored', 'reversible'"),
        ("--dtype=float16", "'float32', 'float64', 'mixed_bfloat16'"),
    ],
)
def test_memory_or_precision_that_does_not_exist(option, choices, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--dataset=digits", f"--output={tmp_path / 'run'}", option])
    assert choices in capsys.readouterr().err.replace("(choose from ", "")
    assert not (tmp_path / "run").exists()


def test_a_preset_for_other_images_is_refused(tmp_path, capsys):
    train = ["train", "--dataset=digits", "--preset=cifar10", "--output"]
    assert main([*train, str(tmp_path / "run")]) == 1
    assert "The preset is for images of (32, 32, 3)" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
