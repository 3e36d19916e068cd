"""`tfp-glow demo`: which model, which attributes, and where the page is."""

import numpy as np
import pytest
from studios import NAMES, make_directions, make_model

from tfp_glow import data, pretrained
from tfp_glow.cli import main
from tfp_glow.cli.listening import listening_socket
from tfp_glow.cli.run_folder import FORMAT_VERSION, write_json

pytest.importorskip("gradio", reason="needs Gradio, of the extra `demo`")

from tfp_glow.demo import server  # noqa: E402


@pytest.fixture
def run(tmp_path):
    """A run folder of a model of the digits."""
    folder = tmp_path / "mine"
    folder.mkdir()
    make_model(num_bits=4).save(folder / "model.keras")
    config = {"format_version": FORMAT_VERSION, "dataset": "digits"}
    write_json(folder / "config.json", config)
    return folder


@pytest.fixture
def served(monkeypatch):
    """The studios that were to be served."""
    studios = []
    monkeypatch.setattr(server, "serve", lambda studio, sock: studios.append(studio))
    return studios


def test_page_of_a_run(run, served, capsys):
    assert main(["demo", str(run), "--port", "0"]) == 0
    (studio,) = served
    assert studio.name == "mine"
    assert studio.attributes == ()
    images, labels = data.load_arrays("digits", "test", limit=64)
    np.testing.assert_array_equal(studio.examples, images)
    assert sorted(labels[studio.shown]) == list(range(10))
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")

    make_directions().save(run / "attributes.npz")
    assert main(["demo", str(run), "--port", "0"]) == 0
    assert served[1].attributes == NAMES


def test_attributes_of_another_model(run, served, capsys):
    make_directions((4, 4, 1)).save(run / "attributes.npz")
    assert main(["demo", str(run), "--port", "0"]) == 1
    assert "is of another model: its directions have 16 numbers" in (
        capsys.readouterr().err
    )
    assert served == []


def test_pretrained_model(served):
    assert main(["demo", "--pretrained", "digits", "--port", "0"]) == 0
    (studio,) = served
    known = pretrained.load("digits")
    assert studio.name == "digits"
    assert studio.describe(1) == f"Example 2: {known.labels[1]}"
    assert studio.attributes == known.directions.names
    np.testing.assert_array_equal(studio.examples, known.images)


def test_options_of_runs_are_refused_with_a_pretrained_model(served, capsys):
    options = ["--attributes", "a.npz", "--data-dir", "sets"]
    assert main(["demo", "--pretrained", "digits", "--port", "0", *options]) == 1
    assert "leave --attributes, --data-dir out" in capsys.readouterr().err
    assert served == []


def test_port_that_is_taken(run, served, capsys):
    with listening_socket("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert main(["demo", str(run), "--port", str(port)]) == 1
    assert "name another port with --port" in capsys.readouterr().err
    assert served == []


@pytest.mark.parametrize("arguments", [[], ["RUN", "--pretrained", "digits"]])
def test_needs_one_model(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["demo", *arguments])
    assert "--pretrained" in capsys.readouterr().err
