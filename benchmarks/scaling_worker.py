"""One worker of `scaling.py`: trains with its share of each batch.

`scaling.py` starts it, one process a worker, with the cluster in `TF_CONFIG`.
"""

import json
import os
import sys
import time

import tfp_glow as tfg  # isort: skip  (first: it chooses TensorFlow's allocator)

import tensorflow as tf

IS_CLUSTER = "TF_CONFIG" in os.environ
# Before TensorFlow is used for anything: a cluster cannot be joined later.
STRATEGY = (
    tf.distribute.MultiWorkerMirroredStrategy()
    if IS_CLUSTER
    else tf.distribute.get_strategy()
)

import keras  # noqa: E402
import numpy as np  # noqa: E402
from worker import cpu_seconds, versions  # noqa: E402


class Clock(keras.callbacks.Callback):
    """CPU and wall seconds of the steps after the first few."""

    def __init__(self, warm_up: int) -> None:
        """Waits for `warm_up` steps."""
        super().__init__()
        self.warm_up = warm_up
        self.started = self.now = (0.0, 0.0)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Starts when the last step of the warm-up ends.

        Stops with the last step: for seconds after it TensorFlow may wait for the
        threads of the data set to end.
        """
        self.now = (cpu_seconds(), time.perf_counter())
        if batch == self.warm_up - 1:
            self.started = self.now

    def spent(self) -> tuple[float, float]:
        """CPU and wall seconds of the steps after the warm-up."""
        (cpu, wall), (cpu_started, wall_started) = self.now, self.started
        return cpu - cpu_started, wall - wall_started


def main(
    event_shape: list[int],
    batch_size: int,
    steps: int,
    warm_up: int,
    model: dict,
) -> dict[str, object]:
    """Trains on made-up images, the same for any number of workers.

    Args:
        event_shape: `[H, W, C]`.
        batch_size: Images of a batch, of all workers together.
        steps: Steps that are timed.
        warm_up: Steps before them.
        model: More arguments of `GlowModel`.
    """
    rng = np.random.default_rng(0)
    num_images = batch_size * (warm_up + steps)
    images = rng.integers(0, 256, [num_images, *event_shape], np.uint8)
    data = tf.data.Dataset.from_tensor_slices(images).batch(batch_size)
    with STRATEGY.scope():
        glow = tfg.GlowModel(event_shape, seed=0, **model)
        glow.compile(tfg.Adamax(1e-3))
    clock = Clock(warm_up)
    history = glow.fit(data, callbacks=[clock], verbose=0)
    cpu, wall = clock.spent()
    return {
        "cpu_seconds": cpu / steps,
        "wall_seconds": wall / steps,
        "loss": history.history["loss"][-1],
        "num_parameters": sum(
            int(np.prod(variable.shape)) for variable in glow.trainable_variables
        ),
        "versions": versions(),
    }


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))), flush=True)
