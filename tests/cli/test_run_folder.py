"""Whether what lies in a run folder is of one run."""

import json
import shutil

import pytest
from tiny_run import make_run

from tfp_glow.cli import main
from tfp_glow.cli.run_folder import load_run, model_config

pytestmark = pytest.mark.usefixtures("models_loaded_once")


@pytest.fixture(scope="module")
def made(tmp_path_factory, models_loaded_once):
    """A run whose configuration has all arguments; and without them, of its model."""
    folder = make_run(tmp_path_factory.mktemp("runs") / "run")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["model"] = model_config(load_run(folder).model)
    return folder, config


@pytest.fixture
def load_with(made):
    """Loads the run after changes of its model's recorded arguments."""
    folder, config = made

    def load(changes):
        changed = {**config, "model": config["model"] | changes}
        (folder / "config.json").write_text(json.dumps(changed))
        return load_run(folder)

    return load


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"num_classes": 10}, "num_classes=None; in config.json it is 10"),
        ({"num_bits": 8}, "num_bits=4; in config.json it is 8"),
        (
            {"event_shape": [16, 16, 1]},
            r"event_shape=\[8, 8, 1\]; in config.json it is \[16, 16, 1\]",
        ),
    ],
)
def test_a_model_of_another_configuration(load_with, changes, expected):
    with pytest.raises(ValueError, match=f"is not the model that.*{expected}"):
        load_with(changes)


def test_a_model_of_another_run(tmp_path, load_with, capsys):
    run = load_with({})
    other = make_run(tmp_path / "other", scale="bounded")
    shutil.copy(run.path / "config.json", other)
    assert main(["evaluate", str(other)]) == 1
    message = capsys.readouterr().err
    assert f"{other / 'model.keras'} is not the model that" in message
    assert "scale='bounded'; in config.json it is 'sigmoid'" in message


def test_what_another_version_knows_and_how_it_computes(load_with):
    changes = {"an_argument_of_later": 1, "memory": "reversible", "dtype": "float64"}
    assert load_with(changes).model.num_bits == 4
