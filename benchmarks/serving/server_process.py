"""Servers as processes of their own, what they serve, and the load put on them."""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import psutil

__all__ = [
    "Group",
    "Load",
    "Rows",
    "ServerProcess",
    "groups_of",
    "model_folder",
    "serve",
    "serve_bare",
]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
}
NUM_REQUESTS = 500
"""Different ones of a kind."""

ROUNDING = 1e-5
"""Of log_prob relative to the largest one: float32, in batches of other sizes."""

Rows = dict[str, np.ndarray]
"""Columns by name, see `clients.py`."""


class ServerProcess:
    """A server of SavedModels, which ends with the `with` block at the latest.

    Attributes:
        port: Of HTTP.
        process: The process, a `subprocess.Popen`.
        seconds_to_start: From the start of the process until it said that it is ready.
    """

    def __init__(
        self, command: Sequence[str], port: int, ready: str, *, timeout: float = 120.0
    ) -> None:
        """Starts it and waits until it is ready.

        Args:
            command: That starts it.
            port: On which it then listens.
            ready: The path that answers 200 when it is ready.
            timeout: Seconds to wait for that.

        Raises:
            RuntimeError: If it ends or takes longer.
        """
        self.port = port
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        started = time.monotonic()
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            while not self.answers(ready):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{command} ended:\n{self.log()[-3000:]}")
                if time.monotonic() > started + timeout:
                    raise RuntimeError(f"{command} is not ready:\n{self.log()[-3000:]}")
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise
        self.seconds_to_start = time.monotonic() - started

    def __enter__(self) -> Self:
        """The server."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kills what is left of it."""
        self.kill()

    def answers(self, path: str) -> bool:
        """Whether a page answers 200."""
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status == 200
        except OSError:
            return False

    def terminate(self, timeout: float = 60.0) -> int:
        """Sends SIGTERM and waits.

        Returns:
            The exit status.
        """
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill(self) -> None:
        """Sends SIGKILL to it and to its children."""
        if self.process.poll() is None:
            children = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for child in children:
                child.kill()
        self.process.wait()

    def resident_megabytes(self) -> float:
        """Its memory and that of its children, in MB of 10^6 bytes."""
        process = psutil.Process(self.process.pid)
        every = [process, *process.children(recursive=True)]
        return sum(one.memory_info().rss for one in every) / 1e6

    def log(self) -> str:
        """What it has printed so far."""
        self._log.seek(0)
        return self._log.read()


def serve(
    folder: Path, *options: str, port: int | None = None, before: Sequence[str] = ()
) -> ServerProcess:
    """Starts `tfp-glow serve`.

    Args:
        folder: That holds `NAME/VERSION/`.
        *options: Of the command.
        port: A free one when not given.
        before: A command that starts another, such as strace.

    Returns:
        The server, which is ready.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "tfp_glow.cli", "serve", str(folder)]
    command += ["--port", str(port), *options]
    return ServerProcess([*before, *command], port, "/v2/health/ready")


def serve_bare(folder: Path) -> ServerProcess:
    """Starts `bare_server.py` for the only model of a folder."""
    port = free_port()
    command = [sys.executable, str(FOLDER / "bare_server.py"), str(folder), str(port)]
    return ServerProcess(command, port, "/openapi.json")


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def model_folder(arguments: argparse.Namespace) -> Iterator[Path]:
    """The folder that `--model` names, or one with a model of random weights.

    Args:
        arguments: By the parser of `figures.py`.

    Yields:
        The folder, which holds `NAME/VERSION/`.
    """
    if arguments.model is not None:
        yield arguments.model
        return
    with tempfile.TemporaryDirectory() as folder:
        export_digits(Path(folder), quick=arguments.quick)
        yield Path(folder)


def export_digits(folder: Path, *, quick: bool = False) -> None:
    """Writes `digits/1/` into a folder: preset `digits` with random weights.

    Args:
        folder: May not hold it yet.
        quick: Whether to make it small.
    """
    import tfp_glow as tfg  # Not for those that only start a server.
    from tfp_glow.presets import PRESETS

    arguments = dict(PRESETS["digits"].model)
    if quick:
        arguments |= {"num_steps": 1, "hidden_channels": 8}
    model = tfg.GlowModel((8, 8, 1), seed=0, **arguments)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(scale=0.02, size=variable.shape))
    model.export(folder / "digits" / "1")


@dataclass(frozen=True)
class Group:
    """Clients that ask for the same.

    Attributes:
        num_clients: How many.
        bodies: Of the requests, JSON, used in turn.
        expected: Prediction for the one row of each.
        tolerance: By which a number of an answer may differ from that.
    """

    num_clients: int
    bodies: list[str]
    expected: list
    tolerance: float


def groups_of(folder: Path) -> tuple[str, dict[str, Group]]:
    """Requests for the only model of a folder, and what it answers in this process.

    Args:
        folder: That holds `NAME/VERSION/`.

    Returns:
        The model's path in TensorFlow Serving's interface, and the groups `"log_prob"`
        and `"sample"`, with one client.
    """
    import tensorflow as tf

    (saved_model,) = folder.glob("*/*/saved_model.pb")
    signatures = tf.saved_model.load(str(saved_model.parent)).signatures
    _, inputs = signatures["log_prob"].structured_input_signature
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, [NUM_REQUESTS, *inputs["images"].shape[1:]], np.uint8)
    seeds = rng.integers(0, 2**31, NUM_REQUESTS, np.int32)
    temperatures = rng.choice(np.float32([0.5, 0.75, 1.0]), NUM_REQUESTS)
    log_probs = signatures["log_prob"](images=tf.constant(images))["log_prob"]
    samples = signatures["sample"](
        seed=tf.constant(seeds), temperature=tf.constant(temperatures)
    )["images"]
    rows = {
        "log_prob": [{"images": image.tolist()} for image in images],
        "sample": [
            {"seed": int(seed), "temperature": float(temperature)}
            for seed, temperature in zip(seeds, temperatures, strict=True)
        ],
    }
    expected = {"log_prob": log_probs, "sample": samples}
    tolerances = {
        "log_prob": ROUNDING * float(tf.reduce_max(tf.abs(log_probs))),
        "sample": 1.0,  # where a float lies on the edge of a bin
    }
    return f"/v1/models/{saved_model.parents[1].name}:predict", {
        name: Group(
            1,
            [json.dumps({"signature_name": name, "instances": [row]}) for row in of],
            expected[name].numpy().tolist(),
            tolerances[name],
        )
        for name, of in rows.items()
    }


class Load:
    """Clients in a process of their own, at work from now on.

    Args as of `run`.
    """

    def __init__(
        self, port: int, path: str, groups: Sequence[Group], seconds: float
    ) -> None:
        """Starts them, and waits until they are connected.

        Args:
            port: Of the server.
            path: Of the requests.
            groups: That ask at the same time.
            seconds: After which they stop.
        """
        self._folder = tempfile.TemporaryDirectory()
        task = Path(self._folder.name, "task.json")
        self._result = Path(self._folder.name, "rows.npz")
        task.write_text(
            json.dumps(
                {
                    "port": port,
                    "path": path,
                    "seconds": seconds,
                    "groups": [asdict(group) for group in groups],
                }
            ),
            encoding="utf-8",
        )
        command = [sys.executable, FOLDER / "clients.py", task, self._result]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "connected\n":
            raise RuntimeError("The clients found no server.")

    def rows(self) -> list[Rows]:
        """Waits for the end; returns what each group has seen."""
        if self._process.wait() != 0:
            raise RuntimeError("The clients failed, as they have printed.")
        with np.load(self._result) as columns:
            found = dict(columns)
        self._folder.cleanup()
        num_groups = 1 + max(int(key.split("/")[0]) for key in found)
        return [
            {
                key.split("/")[1]: column
                for key, column in found.items()
                if key.startswith(f"{i}/")
            }
            for i in range(num_groups)
        ]
