"""Workers of Ray start again by themselves where one is killed."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import psutil
import pytest

from tfp_glow.callbacks.training_state import read_position
from tfp_glow.cli import main, ray_launcher
from tfp_glow.cli import train as train_command
from tfp_glow.cli.parser import make_parser
from tfp_glow.cli.run_folder import resume_command

COMMAND = [sys.executable, "-m", "tfp_glow.cli", "train"]
RUN = (
    "--dataset digits --num-steps 2 --num-levels 1 --hidden-channels 8 --limit 480 "
    "--batch-size 16 --epochs 2"
).split()

RAY = "--strategy ray --num-workers 2".split()

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason='Ray is not installed: pip install "tfp-glow[ray]"',
)


def test_what_ray_began_goes_on_with_ray(tmp_path, monkeypatch):
    run = tmp_path / "run"
    options = make_parser().parse_args(["train", *RUN, *RAY, f"--output={run}"])
    options.strategy = None  # what a worker is told, but for the cluster
    new = None, None, None, {"format_version": 1, "dataset": "digits"}
    monkeypatch.setattr(train_command, "new_run", lambda *_: new)
    monkeypatch.setattr(train_command, "_train", lambda *_, on_start: on_start())
    train_command.run(options)
    expected = f"tfp-glow train --resume {run} --strategy ray --num-workers 2"
    assert resume_command(run) == expected


def start(*options: str | Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *options],
        env=os.environ | {"RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def workers(process: subprocess.Popen) -> list[psutil.Process]:
    children = psutil.Process(process.pid).children(recursive=True)
    return [c for c in children if "RayTrainWorker" in " ".join(c.cmdline())]


def weights(run: Path) -> list[np.ndarray]:
    return keras.models.load_model(run / "model.keras").get_weights()


@needs_ray
def test_a_killed_worker_is_started_again_and_the_weights_are_the_same(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    said = start(*RUN, "--output", whole, *RAY).communicate(timeout=300)
    process = start(*RUN, "--output", broken, *RAY)
    state = broken / "state.npz"
    while not state.exists() or read_position(state)[0] == 0:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    workers(process)[-1].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert f"All start again, and go on with {broken} (1 of at most 3 times)" in err
    assert "Lost a worker" not in said[1]
    assert "Going on in epoch 2" in out
    assert "The cluster has" not in err
    assert not list(tmp_path.glob(".ray-*"))
    for one, other in zip(weights(whole), weights(broken), strict=True):
        np.testing.assert_array_equal(one, other)


class Lost(Exception):
    """In the place of `ray.train.WorkerGroupError`."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.worker_failures = {1: error}


@pytest.fixture
def attempts(monkeypatch):
    """What each attempt does, in the place of Ray, and the options that it had."""
    todo, had = [], []

    def fit(options, beside):
        assert beside.is_dir()
        had.append(vars(options).copy())
        todo.pop(0)()

    ray = SimpleNamespace(WorkerGroupError=Lost)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(train=ray))
    monkeypatch.setitem(sys.modules, "ray.train", ray)
    monkeypatch.setattr(ray_launcher, "_fit", fit)
    monkeypatch.setattr(ray_launcher, "_cluster", lambda num: nullcontext())
    return todo, had


def writes(run: Path, *names: str, error: Exception | None = None) -> Callable:
    def attempt() -> None:
        run.mkdir(exist_ok=True)
        for name in names:
            (run / name).write_text(name)
        if error is not None:
            raise Lost(error)

    return attempt


def test_begins_anew_without_a_state_and_goes_on_with_one(
    attempts, tmp_path, monkeypatch, capsys
):
    todo, had = attempts
    run, gone = tmp_path / "run", ConnectionError("gone\nfar away")
    todo += [
        writes(run, error=gone),
        writes(run, "config.json", error=gone),
        writes(run, "state.npz", error=gone),
        writes(run),
    ]
    monkeypatch.chdir(tmp_path)
    assert main(["train", *RUN, *RAY, "--output", "run"]) == 0
    assert [options["overwrite"] for options in had[:3]] == [False, False, True]
    assert [options["resume"] for options in had] == [None, None, None, run]
    assert {options["output"] for options in had} == {run}
    assert {options["strategy"] for options in had} == {"multi-worker"}
    *_, last = capsys.readouterr().err.splitlines()
    assert last == (
        f"Lost a worker. All start again, and go on with {run} (3 of at most 3 times). "
        "Worker 1: gone"
    )


def test_does_not_go_on_with_the_run_that_it_is_to_replace(attempts, tmp_path):
    todo, had = attempts
    writes(tmp_path, "config.json", "state.npz")()
    todo += [writes(tmp_path, error=ConnectionError("gone")), writes(tmp_path)]
    options = ["--output", str(tmp_path), "--overwrite"]
    assert main(["train", *RUN, *RAY, *options]) == 0
    assert [options["resume"] for options in had] == [None, None]


def test_a_worker_that_is_lost_after_the_end_is_no_loss(attempts, tmp_path):
    todo, had = attempts
    run = tmp_path / "run"
    gone = ConnectionError("gone")
    todo += [writes(run, "config.json", "metrics.json", error=gone)]
    assert main(["train", *RUN, *RAY, "--output", str(run)]) == 0
    assert len(had) == 1


def test_ends_after_so_many_failures(attempts, tmp_path, capsys):
    todo, had = attempts
    run, gone = tmp_path / "run", ConnectionError("gone")
    todo += [writes(run, "config.json", "state.npz", error=gone)] * 3
    options = ["--output", str(run), "--max-failures", "2"]
    assert main(["train", *RUN, *RAY, *options]) == 1
    assert len(had) == 3
    assert f"start again with --resume {run}. Worker 1: gone" in capsys.readouterr().err


def test_does_not_repeat_what_would_fail_again(attempts, tmp_path, capsys):
    todo, had = attempts
    todo += [writes(tmp_path / "run", error=ValueError("wrong option"))]
    assert main(["train", *RUN, *RAY, "--output", str(tmp_path / "run")]) == 1
    assert len(had) == 1
    assert capsys.readouterr().err == "tfp-glow: error: wrong option\n"


def test_without_ray(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.train", None)
    assert main(["train", *RUN, *RAY, "--output", str(tmp_path / "run")]) == 1
    assert 'pip install "tfp-glow[ray]"' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "ray"], "--strategy ray needs --num-workers"),
        (["--num-workers", "2"], "--num-workers needs --strategy ray"),
        ([*RAY, "--max-failures", "-1"], "--max-failures must be 0 or more"),
    ],
)
def test_options_that_do_not_fit(options, message, capsys):
    with pytest.raises(SystemExit):
        main(["train", *RUN, "--output", "run", *options])
    assert message in capsys.readouterr().err
