"""Whether a model stays invertible while it trains."""

import math

import keras
import tensorflow as tf

from tfp_glow._checks import check_positive_integer
from tfp_glow.invertibility import (
    InvertibilityReport,
    check_inputs,
    check_invertibility,
)

__all__ = ["InvertibilityMonitor"]


class InvertibilityMonitor(keras.callbacks.Callback):
    """Watches whether a `GlowModel` stays invertible while it trains.

    After an epoch it encodes and decodes images and samples, adds the figures to the
    epoch's logs (so to `History`, and to `CSVLogger` and `TensorBoard` if they come
    later in the list; NaN in an epoch without a check), and prints a line that names
    the step where something went wrong.

    Attributes:
        reports: The `InvertibilityReport` of each epoch, by its number from 0.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, [32, 8, 8, 1], np.uint8)
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> monitor = InvertibilityMonitor(images[:8])
        >>> history = model.fit(images, callbacks=[monitor], verbose=0)
        >>> history.history["num_wrong_pixels"], monitor.reports[0].is_invertible
        ([0], True)
    """

    def __init__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor | None = None,
        *,
        context: tf.Tensor | None = None,
        num_samples: int = 16,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        """Takes what is encoded and decoded.

        Args:
            images: `uint8` `[B, H, W, C]`, preferably held out; a few dozen will do.
            labels: Integers `[B]`, where the model has classes.
            context: `[B, D]` or `[B, H, W, D]`, where the model has one.
            num_samples: How many samples to draw, at temperature 1.
            every_n_epochs: How many epochs to wait.
            seed: Seed of the samples, the same in every epoch.
        """
        super().__init__()
        check_positive_integer("num_samples", num_samples)
        check_positive_integer("every_n_epochs", every_n_epochs)
        self.reports: dict[int, InvertibilityReport] = {}
        self._images = images
        self._labels = labels
        self._context = context
        self._num_samples = num_samples
        self._every_n_epochs = every_n_epochs
        self._seed = seed

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Checks that images, labels and context fit the model."""
        check_inputs(self.model, self._images, self._labels, self._context)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Checks the model as it is now."""
        if (epoch + 1) % self._every_n_epochs:
            if logs is not None:  # for `CSVLogger`, which takes the first epoch's names
                logs.update(dict.fromkeys(InvertibilityReport("").summary(), math.nan))
            return
        report = check_invertibility(
            self.model,
            self._images,
            self._labels,
            context=self._context,
            num_samples=self._num_samples,
            seed=self._seed,
        )
        self.reports[epoch] = report
        if logs is not None:
            logs.update(report.summary())
        if not report.is_sound:
            print(f"Epoch {epoch + 1}: {report.verdict()}")
