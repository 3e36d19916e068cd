"""`tfp-glow import-openai`, and the other commands on what it writes."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.cli import import_openai, main
from tfp_glow.cli.run_folder import load_run, locked

sys.path.insert(0, str(Path(__file__).parents[1] / "openai"))
from openai_glow import Config, make_variables, write_checkpoint

CONFIG = Config(channels=1, n_y=10, classifier=True, n_bits_x=4, seed=7)

pytestmark = pytest.mark.usefixtures("models_loaded_once")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openai")
    write_checkpoint(folder, make_variables(CONFIG))
    return folder


@pytest.fixture(scope="module")
def run(checkpoint, tmp_path_factory):
    """A run folder, which tests read only."""
    folder = tmp_path_factory.mktemp("runs") / "imported"
    assert (
        main(arguments(checkpoint, folder, "--weight-y=0.2", "--dataset=digits")) == 0
    )
    return folder


def arguments(checkpoint, folder, *options) -> list[str]:
    fixed = ["--image-size=8", "--num-bits=4"]
    return ["import-openai", str(checkpoint), str(folder), *fixed, *options]


def test_run_holds_the_model_of_the_checkpoint(checkpoint, run):
    loaded = load_run(run)
    expected = tfg.load_openai_checkpoint(checkpoint, 8, num_bits=4, weight_y=0.2)
    images, labels = tfg.data.load_arrays("digits", "test", limit=20)
    np.testing.assert_array_equal(
        loaded.model.bits_per_dim(images, labels, seed=0),
        expected.bits_per_dim(images, labels, seed=0),
    )
    assert loaded.config["imported_from"] == str(checkpoint)
    assert loaded.config["model"]["weight_y"] == 0.2
    assert sorted(path.name for path in run.iterdir()) == ["config.json", "model.keras"]


def test_moving_averages_on_request(checkpoint, run, tmp_path):
    assert main(arguments(checkpoint, tmp_path / "run", "--use-ema")) == 0
    average = load_run(tmp_path / "run").model.glow.levels[0].stacked
    raw = load_run(run).model.glow.levels[0].stacked
    key = "network/kernel_3"
    np.testing.assert_allclose(average[key], 0.9 * raw[key], rtol=1e-6)


def test_other_commands_take_it(run, tmp_path, capsys):
    assert main(["evaluate", str(run), "--json", "--limit=30"]) == 0
    figures = json.loads(capsys.readouterr().out)
    model = load_run(run).model
    images, labels = tfg.data.load_arrays("digits", "test", limit=30)
    bits = np.mean(model.bits_per_dim(images, labels, seed=0))
    assert figures["bits_per_dim"] == pytest.approx(bits, abs=1e-5)
    label_bits = np.mean(model.label_bits(images, labels, seed=0))
    assert figures["label_bits"] == pytest.approx(label_bits, rel=1e-5)
    assert main(["evaluate", str(run), "--limit=30", "--dtype=float64"]) == 0
    assert f"{label_bits:.4f} bits a label" in capsys.readouterr().out
    png = tmp_path / "s.png"
    sample = ["sample", str(run), "--label=3", "--num-samples=2", f"--output={png}"]
    assert main(sample) == 0
    assert np.load(tmp_path / "s.npy").shape == (2, 8, 8, 1)
    assert main(["export", str(run), str(tmp_path / "exported")]) == 0
    version = tmp_path / "exported" / run.name / "1"
    signatures = tf.saved_model.load(str(version)).signatures
    assert "labels" in signatures["sample"].structured_input_signature[1]
    card = (version / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Imported from a checkpoint of openai/glow" in card
    assert "Not measured." in card


def test_data_set_of_another_shape(checkpoint, run, tmp_path, capsys):
    pytest.importorskip("skimage")
    expected = "The images of 'photos' are 32 x 32 x 3, and the model's 8 x 8 x 1."
    assert main(arguments(checkpoint, tmp_path / "run", "--dataset=photos")) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    for command in ("evaluate", "check"):
        assert main([command, str(run), "--dataset=photos"]) == 1
        assert expected in capsys.readouterr().err


def test_errors_leave_nothing(checkpoint, run, tmp_path, capsys):
    assert main(arguments(tmp_path / "none", tmp_path / "run")) == 1
    assert "there is no none.index" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    before = (run / "model.keras").read_bytes()
    assert main(arguments(checkpoint, run)) == 1
    assert "is not empty" in capsys.readouterr().err
    with locked(run):
        assert main(arguments(checkpoint, run, "--overwrite")) == 1
    assert "Another training is writing to" in capsys.readouterr().err
    assert (run / "model.keras").read_bytes() == before


def test_another_command_wrote_the_run_in_the_meantime(
    checkpoint, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    load = import_openai.load_openai_checkpoint

    def load_beside_another(*args, **kwargs):
        folder.mkdir()
        (folder / "config.json").write_text("of the other")
        return load(*args, **kwargs)

    monkeypatch.setattr(import_openai, "load_openai_checkpoint", load_beside_another)
    assert main(arguments(checkpoint, folder)) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_unknown_data_set_must_be_named(checkpoint, tmp_path, capsys):
    run = tmp_path / "run"
    assert main(arguments(checkpoint, run)) == 0
    assert f"tfp-glow evaluate {run} --dataset NAME" in capsys.readouterr().out
    for command in ("evaluate", "check"):
        assert main([command, str(run)]) == 1
        assert "Name one: --dataset NAME" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--dataset=digits", "--limit=5"]) == 0
    (run / "model.keras").write_bytes(b"")
    assert main(["evaluate", str(run), "--dataset=digits"]) == 1
    again = f"import-openai {checkpoint} {run} --overwrite --image-size 8 --num-bits 4`"
    assert again in capsys.readouterr().err
