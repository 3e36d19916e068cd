"""A training that leaves TensorFlow, goes on with JAX alone, and comes back."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.accelerate import export_training
from tfp_glow.accelerate.__main__ import main, make_parser
from tfp_glow.accelerate.on_card import pieces
from tfp_glow.accelerate.on_card.images import INDEX, batches, load_images
from tfp_glow.accelerate.on_card.run import main as run_bundle
from tfp_glow.accelerate.stablehlo import make_initializer
from tfp_glow.cli.inference import measure
from tfp_glow.cli.recipe import make_optimizer
from tfp_glow.cli.run_folder import load_run, locked
from tfp_glow.glow_model import GlowModel
from tfp_glow.presets import PRESETS, Preset

TINY = Preset(
    "tiny",
    {"num_levels": 2, "num_steps": 1, "hidden_channels": 8},
    batch_size=4,
    epochs=5,
    learning_rate=1e-2,
    warmup_steps=3,
    weight_decay=0.1,
    clip_norm=1.0,
    ema_momentum=0.5,
    flips=True,
)
NUM_TRAIN = 10  # of which one is for validation; the rest is two batches and one more
STEPS_A_CALL, NUM_STEPS, TOTAL_STEPS, SEED_OF_RUN = 3, 9, 10, 5
# Blocks TensorFlow, and prints bits/dim and gradient norm of each step.
DRIVER = """
import json, sys
sys.modules["tensorflow"] = sys.modules["tfp_glow"] = None
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from on_card import run, training
rows, take_steps = [], training.Training.take_steps
def record(self, rates):
    found = take_steps(self, rates)
    rows.extend(found.tolist())
    return found
training.Training.take_steps = record
for options in json.loads(sys.argv[2]):
    if status := run.main(options, Path(sys.argv[1])):
        sys.exit(status)
print(json.dumps(rows))
"""


@pytest.fixture(scope="module")
def images():
    """Smooth ones, whose left and right halves differ: train and test."""
    rng = np.random.default_rng(0)
    ramp = 12 * np.arange(8)[:, None] + rng.integers(90, size=[140, 8, 1, 3])
    noisy = (ramp + rng.integers(40, size=[140, 8, 8, 3])).astype(np.uint8)
    return noisy[:NUM_TRAIN], noisy[NUM_TRAIN:]


@pytest.fixture(scope="module")
def exported(images, tmp_path_factory):
    """A folder with the bundle and its pieces of images."""
    folder = tmp_path_factory.mktemp("accelerate")
    dataset = folder / "images.npz"
    np.savez(dataset, x_train=images[0], x_test=images[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRESETS, "tiny", TINY)
        options = [f"--dataset={dataset}", f"--steps-a-call={STEPS_A_CALL}"]
        options += ["--dtype=float32", f"--seed={SEED_OF_RUN}"]
        assert main(["export", "tiny", str(folder / "bundle"), *options]) == 0
    assert main(["data", str(dataset), str(folder / "data")]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(exported):
    """What each step gave, in two goes, where there is no TensorFlow."""
    pytest.importorskip("jax")
    options = [exported / "data", "--total-steps", TOTAL_STEPS, "--weights=float32"]
    goes = [
        [*options, "--max-steps", STEPS_A_CALL],
        [
            *[*options, "--max-steps", NUM_STEPS, "--resume"],
            *["--evaluate-minutes=1e-9", "--num-noise-samples=3"],
        ],
    ]
    done = subprocess.run(
        [
            *[sys.executable, "-c", DRIVER, exported / "bundle"],
            json.dumps([[str(word) for word in go] for go in goes]),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )
    assert done.returncode == 0, done.stderr
    return np.array(json.loads(done.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def reference(exported):
    """TensorFlow's own training of the same: model and history, a step an epoch."""
    manifest = json.loads((exported / "bundle" / "manifest.json").read_text())
    model = GlowModel.from_config(manifest["config"]["model"])
    weights = [variable.value for variable in model.weights]
    initial = tf.function(make_initializer(weights), jit_compile=True)(
        tf.constant(SEED_OF_RUN)
    )
    for variable, value in zip(weights, initial, strict=True):
        variable.assign(value)
    train, _, _ = load_images(exported / "data", [8, 8, 3])
    indices, flips = batches(
        0, NUM_STEPS, num_images=len(train), batch_size=4, seed=SEED_OF_RUN
    )
    chosen = train[indices]  # [S, B, H, W, C]
    chosen = np.where(flips[..., None, None, None], chosen[..., ::-1, :], chosen)
    model.compile(make_optimizer(TINY, TOTAL_STEPS), clip_norm=TINY.clip_norm)
    # At the end of `fit` the weights are the average, which is what came back.
    history = model.fit(
        tf.data.Dataset.from_tensor_slices(chosen),
        epochs=NUM_STEPS,
        steps_per_epoch=1,
        shuffle=False,
        verbose=0,
    ).history
    return model, np.stack([history["bits_per_dim"], history["gradient_norm"]], 1)


def test_takes_the_steps_of_fit(trained, reference):
    _, expected = reference
    assert trained.shape == (NUM_STEPS, 2)
    np.testing.assert_allclose(trained[:, 0], expected[:, 0], rtol=1e-5)
    np.testing.assert_allclose(trained[:, 1], expected[:, 1], rtol=1e-3)
    assert expected[:, 1].max() > TINY.clip_norm  # so that something was clipped
    assert expected[-1, 0] < expected[0, 0]


def test_comes_back_as_a_run(exported, trained, reference, images, tmp_path, capsys):
    bundle, run = exported / "bundle", tmp_path / "run"
    assert main(["import", str(bundle), str(run)]) == 0
    model = load_run(run).model
    expected, _ = reference
    for ours, theirs in zip(model.weights, expected.weights, strict=True):
        np.testing.assert_allclose(
            np.float32(ours), np.float32(theirs), rtol=1e-3, atol=1e-5
        )
    metrics = json.loads((run / "metrics.json").read_text())
    for key, num_draws in (("held_out", 3), ("held_out_single_draw", 1)):
        figures = measure(model, images[1], None, num_noise_samples=num_draws)
        for name, value in figures.items():
            received = metrics[key][name]
            assert received == pytest.approx(value, rel=1e-5, abs=1e-6), (key, name)
    bits = measure(expected, images[1], None)["bits_per_dim"]
    assert figures["bits_per_dim"] == pytest.approx(bits, rel=1e-5)
    assert metrics["trainable_parameters"] == model.count_params() - sum(
        int(np.prod(v.shape)) for v in model.non_trainable_variables
    )
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    # A row a call after the first, and what the first call's process left.
    assert [int(row["step"]) for row in rows] == [3, 6, 9]
    assert float(rows[-1]["val_bits_per_dim"]) == pytest.approx(bits, rel=1e-5)
    assert rows[-1]["val_bits_per_dim_raw"] != rows[-1]["val_bits_per_dim"]
    np.testing.assert_allclose(
        [float(row["bits_per_dim"]) for row in rows],
        trained[:, 0].reshape(3, 3).mean(axis=1),
        rtol=1e-6,
    )
    with locked(run):
        assert main(["import", str(bundle), str(run), "--overwrite"]) == 1
    assert "Another training is writing" in capsys.readouterr().err


@pytest.mark.parametrize("epoch", [0, 3])
def test_each_epoch_has_all_images_in_an_order_of_its_own(epoch):
    options = {"num_images": 11, "batch_size": 5, "seed": 1}
    whole, flips = batches(0, 10, **options)
    order = whole[2 * epoch : 2 * epoch + 2]
    assert len(set(order.ravel())) == 10
    assert (order != whole[2 * epoch + 2 : 2 * epoch + 4]).any()
    begun, begun_flips = batches(2 * epoch + 1, 3, **options)
    np.testing.assert_array_equal(begun, whole[2 * epoch + 1 : 2 * epoch + 4])
    np.testing.assert_array_equal(begun_flips, flips[2 * epoch + 1 : 2 * epoch + 4])
    assert 0 < flips.mean() < 1


def test_arrays_come_back_from_pieces(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "kernel": rng.normal(size=[7, 9]).astype(np.float32),
        "rounded/kernel": rng.normal(size=[50]).astype(np.float32),
        "step": np.int64(2**40),
        "flag": np.array([True, False]),
    }
    for step in (1, 2):  # the second takes the first one's place
        about = {"step": step}
        pieces.write(
            tmp_path / "state",
            arrays,
            about,
            rounded=["rounded/kernel"],
            piece_bytes=100,
        )
    sizes = [file.stat().st_size for file in tmp_path.glob("state/*.bin")]
    assert max(sizes) <= 100 < sum(sizes) == 4 * 63 + 2 * 50 + 8 + 2
    read, found = pieces.read(tmp_path / "state")
    assert found == about
    for name, value in arrays.items():
        if name.startswith("rounded"):
            expected = tf.cast(tf.cast(value, tf.bfloat16), tf.float32).numpy()
            assert (expected != value).any()
        else:
            expected = value
        np.testing.assert_array_equal(read[name], expected)
        assert read[name].dtype == expected.dtype


def test_notices_pieces_that_are_missing_or_damaged(tmp_path):
    folder = tmp_path / "state"
    pieces.write(folder, {"a": np.arange(50)}, {}, piece_bytes=100)
    last = folder / "piece-003.bin"
    content = last.read_bytes()
    last.write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="piece-003.bin is damaged"):
        pieces.read(folder)
    last.unlink()
    with pytest.raises(FileNotFoundError, match="4 pieces. Missing: piece-003.bin"):
        pieces.read(folder)
    index = json.loads((folder / "index.json").read_text())
    pieces.write_json(folder / "index.json", {**index, "format_version": 99})
    with pytest.raises(ValueError, match="format 1. Received: format_version=99"):
        pieces.read(folder)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: (data / INDEX).unlink(), "has no images.json"),
        (lambda data: (data / "train-000.npy").unlink(), "Missing: train-000.npy"),
        (
            lambda data: np.save(data / "train-000.npy", np.zeros([9, 8, 8, 3])),
            "must be uint8. Received: dtype=float64",
        ),
        (
            lambda data: np.save(data / "train-000.npy", np.zeros([8, 8, 8, 3], "u1")),
            r"shape \(9, 8, 8, 3\)",
        ),
        (
            lambda data: (data / INDEX).write_text(
                (data / INDEX).read_text().replace("images.npz", "others.npz")
            ),
            "exported for .*images.npz'. Received: images of .*others.npz'",
        ),
    ],
)
def test_refuses_other_images(exported, tmp_path, capsys, spoil, message):
    data = shutil.copytree(exported / "data", tmp_path / "data")
    spoil(data)
    earlier = tmp_path / "result" / "result.json"
    earlier.parent.mkdir()
    earlier.write_text("of an earlier training")
    options = [f"--output={earlier.parent}", "--overwrite"]
    assert run_bundle([str(data), *options], exported / "bundle") == 1
    assert re.search(message, capsys.readouterr().err)
    assert earlier.read_text() == "of an earlier training"


def test_what_cannot_be_replaced_stays(exported, tmp_path, capsys):
    bundle = shutil.copytree(exported / "bundle", tmp_path / "bundle")
    data = shutil.copytree(exported / "data", tmp_path / "data")
    before = sorted(tmp_path.rglob("*"))
    missing = str(tmp_path / "missing.npz")
    export = ["export", "small", str(bundle), f"--dataset={missing}", "--overwrite"]
    for arguments in (export, ["data", missing, str(data), "--overwrite"]):
        assert main(arguments) == 1
        assert "There is no file" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def written(exported, monkeypatch):
    """Exports without the work: a bundle is a copy. The options of each are listed."""
    options = []

    def write_bundle(folder, *_, **__):
        ignored = shutil.ignore_patterns("result", "compiled")
        shutil.copytree(exported / "bundle", folder, ignore=ignored)
        (folder / "run.py").write_text("new")

    def new_run(arguments, _):
        options.append(arguments)
        return None, TINY, None, {}

    monkeypatch.setattr(export_training, "write_bundle", write_bundle)
    monkeypatch.setattr(export_training, "new_run", new_run)
    return options


def test_a_bundle_takes_the_place_of_a_bundle_alone(
    exported, written, tmp_path, capsys
):
    bundle = shutil.copytree(exported / "bundle", tmp_path / "a bundle")
    result = bundle / "result" / "result.json"
    result.parent.mkdir(exist_ok=True)
    result.write_text("trained")
    (bundle / "on_card" / "old.py").touch()
    (tmp_path / "link").symlink_to(bundle)
    export = ["export", "small", "--dataset=my images.npz", "--image-size=8"]
    for folder in (bundle, tmp_path / "link"):
        (bundle / "run.py").write_text("old")
        assert main([*export, str(folder)]) == 1
        assert "--overwrite" in capsys.readouterr().err
        assert main([*export, str(folder), "--overwrite"]) == 0
        assert (bundle / "run.py").read_text() == "new"
        assert result.read_text() == "trained"
        assert not (bundle / "on_card" / "old.py").exists()
        said = capsys.readouterr().out
        assert "data 'my images.npz' --image-size 8 DATA" in said
        assert f"python '{folder / 'run.py'}' DATA" in said or folder != bundle
    site = tmp_path / "site"
    site.mkdir()
    (site / "manifest.json").write_text('{"name": "a page"}')
    assert main([*export, str(site), "--overwrite"]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [file.name for file in tmp_path.glob(".partial*")] == []
    assert [file.name for file in site.iterdir()] == ["manifest.json"]


def test_a_refused_export_leaves_nothing(written, tmp_path, monkeypatch, capsys):
    def refuse(folder, *_, **__):
        folder.mkdir()
        raise NotImplementedError("This model cannot leave TensorFlow")

    monkeypatch.setattr(export_training, "write_bundle", refuse)
    export = ["export", "small", "--dataset=digits", str(tmp_path / "bundle")]
    assert main(export) == 1
    assert "cannot leave TensorFlow" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_squares_are_cut_as_the_images_that_are_written(written, tmp_path, capsys):
    export = ["export", "lsun-bedroom", "--dataset=folder:x", str(tmp_path / "bundle")]
    assert main(export) == 0
    assert "cut out of the middle" in capsys.readouterr().out
    assert [options.crop for options in written] == ["center"]


def test_images_take_the_place_of_images_alone(exported, tmp_path, capsys):
    folder = shutil.copytree(exported / "data", tmp_path / "data")
    (folder / "train-001.npy").touch()  # not of the index
    arguments = ["data", str(exported / "images.npz"), str(folder), "--limit=5"]
    assert main(arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert load_images(folder, [8, 8, 3])[0].shape[0] == 9
    assert main([*arguments, "--overwrite"]) == 0
    assert load_images(folder, [8, 8, 3])[0].shape[0] == 5
    assert (folder / "train-001.npy").exists()
    (folder / INDEX).write_text('{"pictures": []}')
    assert main([*arguments, "--overwrite"]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_without_jax_an_earlier_training_stays(exported, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "jax", None)
    (tmp_path / "result.json").write_text("of an earlier training")
    options = [str(exported / "data"), f"--output={tmp_path}", "--overwrite"]
    assert run_bundle(options, exported / "bundle") == 1
    assert "jax" in capsys.readouterr().err
    assert (tmp_path / "result.json").read_text() == "of an earlier training"


def test_refuses_what_another_bundle_left(exported, trained, tmp_path, capsys):
    bundle, data = exported / "bundle", str(exported / "data")
    assert run_bundle([data], bundle) == 1
    assert "--resume" in capsys.readouterr().err
    other = tmp_path / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    other.mkdir()
    result = [f"--output={bundle / 'result'}", "--resume"]
    for change, message in [
        ({"bundle": "0" * 64}, "left by another bundle"),
        ({"format_version": 99}, "Received: format_version=99"),
    ]:
        pieces.write_json(other / "manifest.json", {**manifest, **change})
        assert run_bundle([data, *result], other) == 1
        assert message in capsys.readouterr().err
    pieces.write_json(other / "manifest.json", {**manifest, "tfp_glow_version": "0"})
    arguments = ["import", str(other), str(tmp_path / "run")]
    assert main(arguments) == 1
    assert "tfp_glow_version='0'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cifar10-conditional"], "without classes"),
        (["digits"], "moves images"),
        (["small"], "Name one: --dataset"),
    ],
)
def test_says_what_cannot_leave(tmp_path, capsys, arguments, message):
    assert main(["export", *arguments, str(tmp_path / "bundle")]) == 1
    assert message in capsys.readouterr().err


def test_help_says_what_export_does(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    options = make_parser().parse_args(["export", "small", "bundle"])
    assert f"networks in bfloat16 (default: {options.dtype})" in told
    assert f"what the machine has (default: {options.memory})" in told
    assert "--conditional" not in told  # nor what it is needed for
    assert "--weight-y" not in told


def test_help_waits_for_no_tensorflow():
    command = [sys.executable, "-X", "importtime", "-m", "tfp_glow.accelerate"]
    for words in (["--help"], ["run", "--help"], ["export", "--help"]):
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("usage: python ")
        assert "| tensorflow" not in done.stderr
        assert "| jax" not in done.stderr
