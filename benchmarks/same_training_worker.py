"""One worker of `same_training.py`, which starts it: trains, evaluates, prints both."""

import json
import os
import sys

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
from worker import versions  # noqa: E402

EVENT_SHAPE = (4, 4, 2)
SIZES = (1, 13, 16, 17)


def main(
    rates: list[float], batches: list[int], steps: int, weights: str
) -> dict[str, object]:
    """Trains with each learning rate and size of a batch.

    Args:
        rates: Learning rates.
        batches: Images of a batch, of all workers together.
        steps: Of each training.
        weights: File of the weights that are evaluated; one process alone writes it.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, [steps * max(batches), *EVENT_SHAPE], np.uint8)
    trainings = []
    for rate in rates:
        for batch in batches:
            with STRATEGY.scope():
                model = tfg.GlowModel(
                    EVENT_SHAPE, num_levels=1, num_steps=2, hidden_channels=8, seed=0
                )
                model.compile(keras.optimizers.Adamax(rate))
            history = model.fit(  # of one step an epoch: its loss is that of the step
                batched(images[: steps * batch], batch),
                steps_per_epoch=1,
                epochs=steps,
                verbose=0,
            )
            if not IS_CLUSTER and not os.path.exists(weights):
                model.save_weights(weights)
            model.load_weights(weights)
            bits = [
                model.evaluate(batched(images[:size], batch), verbose=0)
                for size in SIZES
            ]
            trainings.append(
                {
                    "rate": rate,
                    "batch": batch,
                    "losses": history.history["loss"],
                    "bits": np.array(bits).reshape([len(SIZES), -1])[:, 0].tolist(),
                }
            )
    return {"trainings": trainings, "versions": versions()}


def batched(images: np.ndarray, batch: int) -> tf.data.Dataset:
    """Images as a data set that workers can divide."""
    return tf.data.Dataset.from_tensor_slices(images).batch(batch)


if __name__ == "__main__":
    print(json.dumps(main(**json.loads(sys.argv[1]))), flush=True)
