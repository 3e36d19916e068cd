"""`tfp-glow demo`: which model, which attributes, and where the page is."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from studios import NAMES, make_directions, make_model

from tfp_glow import data
from tfp_glow.cli import main
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
    monkeypatch.setattr(server, "serve", lambda studio, bound: studios.append(studio))
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


def test_pretrained_model(served, monkeypatch):
    known = SimpleNamespace(
        model=make_model(),
        images=np.zeros([70, 8, 8, 1], np.uint8),
        labels=np.arange(70) % 3,
        class_names=("a", "b", "c"),
        directions=make_directions(),
    )
    pretrained = SimpleNamespace(load={"digits": known}.__getitem__)
    monkeypatch.setitem(sys.modules, "tfp_glow.pretrained", pretrained)
    monkeypatch.setattr("tfp_glow.pretrained", pretrained, raising=False)
    assert main(["demo", "--pretrained", "digits", "--port", "0"]) == 0
    (studio,) = served
    assert studio.name == "digits"
    assert studio.describe(1) == "Example 2: b"
    assert studio.attributes == NAMES


def test_port_that_is_taken(run, served, capsys):
    with server.bind("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert main(["demo", str(run), "--port", str(port)]) == 1
    assert "Name another --port or --host" in capsys.readouterr().err
    assert served == []


@pytest.mark.parametrize("arguments", [[], ["RUN", "--pretrained", "digits"]])
def test_needs_one_model(arguments, capsys):
    with pytest.raises(SystemExit):
        main(["demo", *arguments])
    assert "--pretrained" in capsys.readouterr().err
