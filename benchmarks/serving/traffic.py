"""The load that is put on a server, and what it should answer."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

__all__ = ["Group", "Load", "Rows", "groups_of"]

CLIENTS = Path(__file__).with_name("clients.py")
NUM_REQUESTS = 500
"""Different ones of a kind."""

ROUNDING = 1e-5
"""Of log_prob relative to the largest one: float32, in batches of other sizes."""

Rows = dict[str, np.ndarray]
"""Columns by name, see `clients.py`."""


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
    """Clients in a process of their own, at work from now on."""

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
        command = [sys.executable, CLIENTS, task, self._result]
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
