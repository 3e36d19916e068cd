"""`tfp-glow check`."""

import json

import numpy as np
import pytest

import tfp_glow as tfg
from tfp_glow.cli import main
from tfp_glow.cli.run_folder import FORMAT_VERSION, write_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of a model that is only initialised."""
    folder = tmp_path_factory.mktemp("run")
    model = tfg.GlowModel(
        (8, 8, 1), num_bits=4, num_levels=2, num_steps=1, hidden_channels=4, seed=0
    )
    model.save(folder / "model.keras")
    config = {"format_version": FORMAT_VERSION, "dataset": "digits"}
    write_json(folder / "config.json", config)
    return folder


@pytest.fixture
def broken(run, tmp_path):
    """A run whose second level divides by exp(-98)."""
    model = tfg.GlowModel(
        (8, 8, 1), num_bits=4, num_levels=2, num_steps=1, hidden_channels=4, seed=0
    )
    bias = model.glow.levels[1].stacked["network/bias_3"]
    bias.assign(np.r_[np.zeros(4), np.full(4, -100.0)][None].astype(np.float32))
    model.save(tmp_path / "model.keras")
    (tmp_path / "config.json").write_bytes((run / "config.json").read_bytes())
    return tmp_path


def test_prints_each_part_and_both_precisions(run, capsys):
    assert main(["check", str(run), "--limit=40", "--num-samples=5"]) == 0
    printed = capsys.readouterr().out
    for name in ("level 0, step 0", "level 0, split", "level 1, step 0", "top prior"):
        assert sum(line.startswith(name) for line in printed.splitlines()) == 1
    assert "40 test images of digits" in printed
    for dtype in ("float32", "float64"):
        assert f"invertible in {dtype}: all pixels of 40 images came back" in printed


def test_json_is_the_report(run, capsys):
    options = ["--limit=10", "--num-samples=4", "--seed=2", "--split=train", "--json"]
    assert main(["check", str(run), *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["dataset"], printed["split"]) == ("digits", "train")
    assert printed["report"]["dtype"] == "float32"
    assert printed["report"]["num_samples"] == 4
    assert printed["report"]["parts"][0]["condition_number"] == pytest.approx(1, 1e-5)
    assert 0 < printed["float64"]["data_error"] < printed["report"]["data_error"] < 1e-5


def test_status_1_where_something_is_wrong(broken, capsys):
    assert main(["check", str(broken), "--limit=10", "--num-samples=3"]) == 1
    printed = capsys.readouterr().out
    assert "3 of 3 samples are not finite; they grow most in level 1, step 0" in printed
    assert main(["check", str(broken), "--limit=10", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["report"]["is_invertible"] is False
