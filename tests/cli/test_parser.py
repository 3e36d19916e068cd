"""What is typed wrong, and what the answer is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from tfp_glow.cli import evaluate, main
from tfp_glow.cli.parser import make_parser
from tfp_glow.presets import PRESETS
from tfp_glow.version import __version__

ROOT = Path(__file__).parents[2]
COMMANDS = [
    "train",
    "evaluate",
    "sample",
    "export",
    "serve",
    "check",
    "interpolate",
    "attributes",
    "manipulate",
    "import-openai",
    "presets",
]


def usage_error(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    return capsys.readouterr().err


def error(capsys, *arguments) -> str:
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("tfp-glow: error: ")
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("arguments", [["--help"], *([c, "--help"] for c in COMMANDS)])
def test_help(capsys, arguments):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 0
    help = capsys.readouterr().out
    assert f"usage: tfp-glow {' '.join(arguments[:-1])}".strip() in help


def test_help_shows_commands_and_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help = capsys.readouterr().out
    assert all(f"\n    {command}" in help for command in COMMANDS)
    assert "tfp-glow train --dataset digits --output runs/digits" in help


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"tfp-glow {__version__}\n"


def test_parsing_needs_no_tensorflow():
    # The package's own `__init__.py` is left out, which does import it.
    program = f"""
import sys, types
package = types.ModuleType("tfp_glow")
package.__path__ = [{str(ROOT / "tfp_glow")!r}]
sys.modules["tfp_glow"] = package
from tfp_glow.cli import parser
parser.make_parser().parse_args(["evaluate", "run"])
heavy = {{"tensorflow", "keras", "matplotlib", "numpy"}} & sys.modules.keys()
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian", "--dataset=digits"], "train"),
        (["--verison"], "--version"),
        (["train", "--dataset=digits", "--output=x", "--epoch", "3"], "--epochs"),
        (["train", "--dataset=digits", "--ouput=x"], "--output"),
        (["sample", "x", "--temprature=1"], "--temperature"),
    ],
)
def test_misspelled_word(capsys, arguments, meant):
    assert f"Did you mean '{meant}'?" in usage_error(capsys, *arguments)


def test_options_are_not_guessed(capsys):
    assert "unrecognized arguments: --x" in usage_error(capsys, "sample", "run", "--x")
    assert "COMMAND" in usage_error(capsys)


@pytest.mark.parametrize(
    "option",
    ["--epochs=0", "--epochs=1.5", "--learning-rate=nan", "--learning-rate=-1"],
)
def test_number_that_cannot_be(capsys, option):
    train = ["train", "--dataset=digits", "--output=x"]
    assert "must be a positive" in usage_error(capsys, *train, option)


def test_seed_that_cannot_be(capsys):
    assert "must be from 0" in usage_error(capsys, "sample", "x", "--seed=-1")


@pytest.mark.parametrize(
    "name", ["../up", "a b", ".hidden", "-x", "12", "", "\u0661", "_x", "x" * 101]
)
def test_model_name_that_cannot_be_part_of_an_address(capsys, name):
    export = ["export", "run", "models", f"--name={name}"]
    assert "must be of 1 to 100 letters, digits" in usage_error(capsys, *export)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset=digitz"], "Did you mean 'digits'?"),
        (["--dataset=digits", "--preset=smal"], "Did you mean 'small'?"),
        (["--dataset=digits", "--coupling=afine"], "Did you mean 'affine'?"),
        (["--dataset=digits", "--coupling=mixture"], "mean 'logistic_mixture'?"),
        (["--dataset=digits", "--scale=bound"], "Did you mean 'bounded'?"),
        (["--dataset=digits", "--weight-y=0.1"], "add --conditional"),
        (["--dataset=digits", "--num-levels=4"], "divisible by 16"),
        (["--dataset=digits", "--num-levels=0"], "must be a positive integer"),
        (["--dataset=digits", "--num-bits=8"], "have 4 bits"),
        (["--dataset=digits", "--num-bits=0"], "`num_bits` must be a positive"),
    ],
)
def test_training_that_cannot_be(capsys, tmp_path, options, message):
    if options == ["--dataset=digitz"]:
        pytest.importorskip("tensorflow_datasets")
    output = tmp_path / "run"
    assert message in error(capsys, "train", f"--output={output}", *options)
    assert not output.exists()


def test_output_that_holds_something_else(capsys, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear")
    train = ["train", "--dataset=digits", f"--output={tmp_path}"]
    assert "is not empty" in error(capsys, *train)
    assert "holds something else" in error(capsys, *train, "--overwrite")
    train[-1] += "/letter.txt"
    assert "is a file" in error(capsys, *train, "--overwrite")
    assert (tmp_path / "letter.txt").read_text() == "Dear"


def test_output_that_cannot_be_written(capsys, tmp_path, monkeypatch):
    def train(path):
        return error(capsys, "train", "--dataset=digits", f"--output={path}")

    assert "Name another folder" in train("/dev/null/run")  # to root, too
    (tmp_path / "letter").touch(mode=0o755)  # which a folder may be entered by
    said = train(tmp_path / "letter" / "new" / "run")
    assert f"{tmp_path / 'letter'} is a file. Name another folder" in said
    monkeypatch.setattr(os, "access", lambda *_: False)  # as to others
    said = train(tmp_path / "new" / "run")
    assert f"no permission to write to {tmp_path}. Name another folder" in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        ("evaluate", []),
        ("sample", []),
        ("export", ["exported"]),
        ("check", []),
        ("interpolate", ["0", "1"]),
        ("attributes", []),
        ("manipulate", ["0", "--attribute=round"]),
    ],
)
def test_no_run_folder(capsys, tmp_path, command, rest):
    assert error(capsys, command, str(tmp_path), *rest) == (
        f"tfp-glow: error: {tmp_path} is no run folder: it has no config.json. "
        f"`tfp-glow train --output {tmp_path}` makes one, or "
        "`tfp-glow import-openai`.\n"
    )


def test_presets(capsys):
    assert main(["presets"]) == 0
    _, _, *rows, _, footer, signs = capsys.readouterr().out.splitlines()
    assert "what the paper reports" in footer
    assert "* is what was measured here, see README, and - where" in signs
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [row.split()[0] for row in rows] == list(PRESETS)
    for row, (name, preset) in zip(rows, PRESETS.items(), strict=True):
        model = preset.model
        expected = [
            name,
            "x".join(map(str, preset.event_shape or ["any"])),
            model["num_levels"],
            model["num_steps"],
            model["hidden_channels"],
            preset.batch_size,
            preset.epochs,
            preset.learning_rate,
        ]
        bits = preset.bits_per_dim or "-"
        if preset.measured is not None:
            assert f"**{preset.measured}**" in readme
            bits = f"{preset.measured}*"
        expected += [bits, preset.dataset or "any"]
        assert row.split()[:10] == [*map(str, expected)]
        assert preset.cost in row


def test_interrupt(capsys, monkeypatch):
    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "run", interrupt)
    assert main(["evaluate", "run"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (1, 1), (130, -signal.SIGINT), (143, 143)]
)
def test_a_program_ends_as_a_shell_wants(status, expected):
    # The package's own `__init__.py` is left out: it imports TensorFlow.
    program = f"""
import runpy, sys, types
package = types.ModuleType("tfp_glow")
package.__path__ = [{str(ROOT / "tfp_glow")!r}]
sys.modules["tfp_glow"] = package
import tfp_glow.cli
tfp_glow.cli.main = lambda: print("told") or {status}
runpy.run_module("tfp_glow.cli", run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert done.returncode == expected
    assert (done.stdout, done.stderr) == ("told\n", "")


@pytest.mark.parametrize(
    "error",
    [tf.errors.DataLossError(None, None, "cut short"), MemoryError("too large")],
)
def test_errors_of_tensorflow_and_of_memory_are_told(capsys, monkeypatch, error):
    def fail(arguments):
        raise error

    monkeypatch.setattr(evaluate, "run", fail)
    assert main(["evaluate", "run"]) == 1
    assert capsys.readouterr().err == f"tfp-glow: error: {error}\n"


def test_mistakes_of_ours_are_raised(monkeypatch):
    def fail(arguments):
        raise KeyError("name")

    monkeypatch.setattr(evaluate, "run", fail)
    with pytest.raises(KeyError):
        main(["evaluate", "run"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [("sets", "/there/sets"), ("~/sets", "/home/me/sets"), ("gs://a/b", "gs://a/b")],
)
def test_folder_of_data_sets_is_the_same_from_anywhere(
    tmp_path, monkeypatch, text, expected
):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir(tmp_path)
    parsed = make_parser().parse_args(["evaluate", "run", "--data-dir", text])
    assert parsed.data_dir == expected.replace("/there", str(tmp_path))


def test_debug_raises(monkeypatch, tmp_path):
    monkeypatch.setenv("TFP_GLOW_DEBUG", "1")
    with pytest.raises(FileNotFoundError, match="no run folder"):
        main(["evaluate", str(tmp_path)])
