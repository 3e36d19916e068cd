"""One small Glow that is trained for some seconds and scored on held-out images."""

import tfp_glow as tfg  # isort: skip  (first, as in a program that has no other flows)

import time
from collections.abc import Sequence

import keras
import numpy as np
from subject import Subject
from tensorflow_subjects import make_subject

from tfp_glow.presets import PRESETS

__all__ = ["train"]


class ForSeconds(keras.callbacks.Callback):
    """Ends a training after some seconds, and sets its learning rate by the time spent.

    The rate rises over the first tenth and falls as half a cosine, so that a model
    whose steps are slow gets the same warm-up and decay as one whose steps are fast.
    The first step, which traces, has a rate of 0 and is not counted.
    """

    def __init__(self, seconds: float, learning_rate: float) -> None:
        """Takes the seconds of training, and the learning rate after the warm-up."""
        super().__init__()
        self.seconds = seconds
        self.learning_rate = learning_rate
        self.num_steps = 0
        self.spent = self.cpu = 0.0

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Sets the rate."""
        part = min(self.spent / self.seconds, 1.0)
        decay = 0.5 * (1 + np.cos(np.pi * part))
        self.model.optimizer.learning_rate = (
            self.learning_rate * min(10 * part, 1.0) * decay
        )

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Looks at the clock, which starts after the first step."""
        if batch == 0:
            self.wall_start, self.cpu_start = time.perf_counter(), time.process_time()
        self.num_steps = batch
        self.spent = time.perf_counter() - self.wall_start
        self.cpu = time.process_time() - self.cpu_start
        self.model.stop_training = self.spent >= self.seconds


def train(
    *,
    preset: str,
    seconds: float,
    num_images: int,
    draws: Sequence[int],
    seed: int,
    data_dir: str | None,
    file: str,
    **changes: object,
) -> Subject:
    """A model whose only call trains it, and returns its held-out bits/dim.

    Args:
        preset: Whose data set, model, batch size and learning rate are taken.
        seconds: Of training, the first step apart.
        num_images: Test images, the first ones.
        draws: Draws of noise of an image; bits/dim are estimated with each number.
        seed: Of weights, noise and the order of the images.
        data_dir: Folder of prepared TensorFlow Datasets.
        file: A `.npy` file for bits/dim, `[len(draws), num_images]`.
        **changes: To the arguments of the preset's model.
    """
    settings = PRESETS[preset]
    keras.utils.set_random_seed(seed)
    batches = tfg.data.load(
        settings.dataset,
        "train",
        batch_size=settings.batch_size,
        shuffle=True,
        seed=seed,
        data_dir=data_dir,
        drop_remainder=True,
    ).repeat()
    if settings.flips:
        batches = tfg.data.random_flip(batches, seed=seed)
    test, _ = tfg.data.load_arrays(
        settings.dataset, "test", limit=num_images, data_dir=data_dir
    )
    model = tfg.GlowModel(test.shape[1:], seed=seed, **{**settings.model, **changes})
    model.compile(tfg.Adamax(use_ema=True, ema_momentum=settings.ema_momentum))
    clock = ForSeconds(seconds, settings.learning_rate)

    def call() -> float:
        model.fit(batches.prefetch(2), shuffle=False, callbacks=[clock], verbose=0)
        # Keras has left the moving average of the weights in the model.
        bits = np.stack([held_out_bits(model, test, k) for k in draws])
        np.save(file, bits)
        return float(bits[0].mean())

    def facts() -> dict[str, float]:
        return {
            "steps": clock.num_steps,
            "seconds_a_step": clock.spent / clock.num_steps,
            "cpu_seconds_a_step": clock.cpu / clock.num_steps,
        }

    return make_subject(call, [v.value for v in model.trainable_variables], facts)


def held_out_bits(
    model: tfg.GlowModel, images: np.ndarray, num_noise_samples: int
) -> np.ndarray:
    """Bits/dim of each image, float64 `[N]`, with the same noise for every model."""
    return np.concatenate(
        [
            model.bits_per_dim(
                images[start : start + 100],
                # A batch's draws count up from the second number.
                seed=[0, start * num_noise_samples],
                num_noise_samples=num_noise_samples,
            )
            for start in range(0, len(images), 100)
        ]
    ).astype(np.float64)
