"""Workers of Ray start again by themselves where one is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import psutil
import pytest

from tfp_glow.callbacks.training_state import read_position

COMMAND = [sys.executable, "-m", "tfp_glow.cli", "train"]
RUN = (
    "--dataset digits --num-steps 2 --num-levels 1 --hidden-channels 8 --limit 480 "
    "--batch-size 16 --epochs 2"
).split()
INDEX = int(os.environ.get("INDEX", -1))
RAY = "--strategy ray --num-workers 2".split()

needs_ray = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('ray')",
    reason='Ray is not installed: pip install "tfp-glow[ray]"',
)


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
    workers(process)[INDEX].send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    assert f"All start again, and go on with {broken} (1 of at most 3 times)" in err
    assert "Lost a worker" not in said[1]
    assert "Going on in epoch 2" in out
    assert "The cluster has" not in err
    print(out, err)
    assert not list(tmp_path.glob(".ray-*"))
    for one, other in zip(weights(whole), weights(broken), strict=True):
        np.testing.assert_array_equal(one, other)
