"""Several devices and several processes train as one does."""

import csv
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.cli import main
from tfp_glow.cli.run_folder import resume_command
from tfp_glow.cli.strategy import is_chief, make_strategy

OPTIONS = (
    "--dataset digits --num-steps 1 --num-levels 1 --hidden-channels 4 --limit 96 "
    "--batch-size 32 --epochs 3 --quiet"
).split()
COMMAND = """
import sys

from tfp_glow.cli import main

sys.exit(main(sys.argv[1:]))
"""
# The same in a process of its own, which ends as a user's does.
CHIEF = """
import os
import sys

os.execv(sys.executable, [sys.executable, "-m", "tfp_glow.cli", *sys.argv[1:]])
"""
# Of two logical devices in the place of two GPUs.
MIRRORED = """
import sys

import tensorflow as tf

two = [tf.config.LogicalDeviceConfiguration()] * 2
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], two)

from tfp_glow.cli import main

sys.exit(main(sys.argv[1:]))
"""

# Each worker has images of its own, as where a data set shuffles without a seed. It
# prints what they make of a model's weights before its first step, and then does what
# the command does.
WORKER = """
import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf

import tfp_glow as tfg
from tfp_glow.cli import main, strategy, train

workers = strategy.make_strategy("multi-worker")
index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
images = np.random.default_rng(index).integers(0, 100 + 100 * index, [32, 4, 4, 1])
with workers.scope():
    model = tfg.GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
    model.compile(keras.optimizers.SGD(1e-3))
data = tf.data.Dataset.from_tensor_slices(images.astype(np.uint8)).batch(16)
model.fit(data, epochs=0, verbose=0)
values = []
for variable in model.trainable_variables:
    (own,) = workers.experimental_local_results(variable.value)
    values.append(own.numpy().ravel().tolist())
print(json.dumps(values), flush=True)

train.make_strategy = lambda name: workers  # A process can make one alone.
sys.exit(main(sys.argv[1:]))
"""


def losses(run: Path) -> np.ndarray:
    with (run / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = ["loss", "val_bits_per_dim", "val_bits_per_dim_raw", "gradient_norm"]
    return np.array([[float(row[name]) for name in names] for row in rows])


def work(code: str, arguments: list[str], said: str, cluster: str | None) -> None:
    """Does in this process, a new one, what `python -c CODE ARGUMENTS` does."""
    if cluster:
        os.environ["TF_CONFIG"] = cluster
    for stream, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(f"{said}.{stream}", os.O_CREAT | os.O_WRONLY), number)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})


class Started:
    """A process that runs a program, forked off from one that has imported all."""

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tfp_glow"])

    def __init__(
        self, code: str, *arguments: str, said: Path, cluster: str | None = None
    ) -> None:
        self.said = said
        self.process = self.context.Process(
            target=work, args=(code, list(arguments), str(said), cluster), daemon=True
        )
        self.process.start()

    def text(self, stream: str) -> str:
        """What it has said so far on `"out"` or `"err"`."""
        file = self.said.with_suffix(f".{stream}")
        return file.read_text("utf-8") if file.exists() else ""

    def end(self) -> tuple[int | None, str, str]:
        """Exit status, and all that it said."""
        self.process.join(timeout=300)
        self.process.kill()  # if it has not ended
        return self.process.exitcode, self.text("out"), self.text("err")


@pytest.fixture
def files(tmp_path) -> Iterator[Path]:
    """Names of files for what processes say."""
    return (tmp_path / f"process_{number}" for number in count())


def start(
    files: Iterator[Path], *options: str, workers: int, code: str = COMMAND
) -> list[Started]:
    """Starts `tfp-glow train` in each process of a cluster, the chief first."""
    sockets = [socket.socket() for _ in range(workers)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    arguments = ["train", *options, "--strategy", "multi-worker"]
    return [
        Started(
            code,
            *arguments,
            said=next(files),
            cluster=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index in range(workers)
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "alone"
    assert main(["train", *OPTIONS, "--output", str(run)]) == 0
    return run


def test_two_devices_train_as_one(alone, tmp_path, files):
    options = [*OPTIONS, "--output", str(tmp_path / "run"), "--strategy", "mirrored"]
    status, _, said = Started(MIRRORED, "train", *options, said=next(files)).end()
    assert status == 0, said[-3000:]
    np.testing.assert_allclose(losses(tmp_path / "run"), losses(alone), atol=1e-4)
    again = resume_command(tmp_path / "run")
    assert again == f"{resume_command(alone)} --strategy mirrored".replace(
        str(alone), str(tmp_path / "run")
    )


def test_a_lost_worker_ends_all_and_all_go_on_to_the_same_weights(
    alone, tmp_path, files
):
    whole, broken = str(tmp_path / "whole"), str(tmp_path / "broken")
    # Each saves when its own clock says so: nobody waits for the others then.
    options = [*OPTIONS, "--save-minutes", "0.0001", "--output"]
    started = start(files, *options, whole, workers=2, code=WORKER)
    ended = [each.end() for each in started]
    assert [status for status, *_ in ended] == [0, 0], ended
    np.testing.assert_allclose(losses(tmp_path / "whole"), losses(alone), atol=1e-4)
    # Also where workers see other images first they begin with the same weights.
    one, other = (json.loads(out.splitlines()[0]) for _, out, _ in ended)
    assert len(one) > 10
    assert one == other

    # The chief as a user's process: how that ends is what is asked.
    chief, worker = start(files, *options, broken, workers=2, code=CHIEF)
    while "Epoch 1/3" not in chief.text("out"):
        assert chief.process.is_alive(), chief.text("err")
        time.sleep(0.02)
    worker.process.kill()
    status, _, said = chief.end()
    assert status == 1
    assert "tfp-glow: error: Another worker has gone" in said
    assert "--resume" in said

    resumed = [each.end() for each in start(files, "--resume", broken, workers=2)]
    assert [status for status, *_ in resumed] == [0, 0], resumed
    np.testing.assert_array_equal(
        losses(tmp_path / "broken"), losses(tmp_path / "whole")
    )
    one, other = (
        ZipFile(Path(run, "model.keras")).read("model.weights.h5")
        for run in (whole, broken)
    )
    assert one == other


@pytest.mark.parametrize("text", ["", "{}", '{"cluster": {"worker": []}}'])
def test_without_a_cluster(text, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TF_CONFIG", text)
    options = [*OPTIONS, "--output", str(tmp_path / "run")]
    assert main(["train", *options, "--strategy", "multi-worker"]) == 1
    assert 'TF_CONFIG=\'{"cluster"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("jobs", "task", "expected"),
    [
        (["worker"], ("worker", 0), True),
        (["worker"], ("worker", 1), False),
        (["chief", "worker"], ("chief", 0), True),
        (["chief", "worker"], ("worker", 0), False),
    ],
)
def test_one_process_alone_is_the_chief(jobs, task, expected):
    cluster = tf.train.ClusterSpec({job: ["host0:1", "host1:1"] for job in jobs})
    strategy = SimpleNamespace(
        cluster_resolver=tf.distribute.cluster_resolver.SimpleClusterResolver(
            cluster, task_type=task[0], task_id=task[1]
        )
    )
    assert is_chief(strategy) is expected


def test_one_device_needs_no_strategy():
    assert make_strategy(None).num_replicas_in_sync == 1
