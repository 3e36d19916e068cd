"""Training on several devices, or by several processes: `tfp-glow train --strategy`."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path

import tensorflow as tf

__all__ = [
    "barrier",
    "is_chief",
    "make_strategy",
    "sharded",
    "silent_in_another_folder",
    "telling_of_lost_workers",
]

_EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": '
    '{"type": "worker", "index": 0}}\''
)


def make_strategy(name: str | None) -> tf.distribute.Strategy:
    """The strategy of a name; it must be made before TensorFlow computes anything.

    Args:
        name: `"mirrored"` for all GPUs of this machine, or all its logical CPUs where
            there is no GPU; `"multi-worker"` for the processes that `TF_CONFIG` names,
            each with all GPUs of its machine; None for one device.

    Raises:
        ValueError: If `TF_CONFIG` is missing or cannot be read.
    """
    if name == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    if name == "multi-worker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def _check_cluster(text: str) -> None:
    try:
        config = json.loads(text)
        task = config["task"]
        peers = config["cluster"][task["type"]]
        is_good = isinstance(peers, list) and 0 <= task["index"] < len(peers)
        is_good &= task["type"] in ("chief", "worker")
    except (KeyError, TypeError, ValueError):
        is_good = False
    if not is_good:
        raise ValueError(
            "--strategy multi-worker needs the addresses of all workers, the same for "
            "each, and which of them this one is, in the environment: "
            f"{_EXAMPLE}. Received: TF_CONFIG={text!r}."
        )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    # Some clusters have a job for it, beside which worker 0 is one like the others.
    has_chief = "chief" in resolver.cluster_spec().jobs
    return resolver.task_type == "chief" or not (has_chief or resolver.task_id)


def barrier(strategy: tf.distribute.Strategy) -> None:
    """Waits until all workers are here."""
    ones = strategy.run(lambda: tf.constant(1))
    strategy.reduce(tf.distribute.ReduceOp.SUM, ones, axis=None)


def sharded(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of which each replica takes its part, in the order of the images."""
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return dataset.with_options(options)


@contextmanager
def silent_in_another_folder(run: Path | None) -> Iterator[Path]:
    """A run folder for a worker that is not the chief, and no output meanwhile.

    Args:
        run: A run that is gone on with, which is copied; none for a new one.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
        if run is not None:
            shutil.copytree(run, folder, ignore=shutil.ignore_patterns("logs"))
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(nowhere))
        yield folder


@contextmanager
def telling_of_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Makes one message of what TensorFlow raises where another worker has gone.

    Raises:
        ConnectionError: If a worker has gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        raise ConnectionError(
            "Another worker has gone, or cannot be reached, and training cannot go on "
            "without it. Start all workers again, each with its TF_CONFIG and "
            "--strategy multi-worker, and --resume of the run folder: they go on from "
            f"what the first one saved last. TensorFlow says: {error.message[:300]}"
        ) from error
