"""What TensorBoard shows of a training besides numbers: samples, reconstructions."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfp_glow.callbacks import averaged_weights
from tfp_glow.latents import split_levels
from tfp_glow.plots import tile

__all__ = ["Pictures"]

_NUM_SHOWN = 25
_TEMPERATURE = 0.7


class Pictures(keras.callbacks.Callback):
    """Writes for TensorBoard what the moving average of the weights makes of an epoch.

    That is a grid of samples, always of the same latents; held-out images beside what
    comes back of them; and mean and variance of their latents level by level, which
    are to become 0 and 1. `fit` logs these too, as `latent_mean_0` and so on.
    """

    def __init__(self, folder: Path, validation: tf.data.Dataset) -> None:
        """Takes a few images.

        Args:
            folder: Where TensorBoard looks.
            validation: Batches of images, or of images and labels, held out.
        """
        super().__init__()
        self._folder = folder
        self._validation = validation

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Reads the images, and opens the file."""
        self._writer = tf.summary.create_file_writer(str(self._folder / "pictures"))
        batch = next(iter(self._validation.take(1)))
        images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
        self._images = images[:_NUM_SHOWN]
        self._labels = None if labels is None else labels[:_NUM_SHOWN]

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Draws, encodes and decodes."""
        model = self.model
        num_classes = model.glow.num_classes
        labels = np.arange(_NUM_SHOWN) % num_classes if num_classes else None
        with averaged_weights(model):
            samples = model.sample(_NUM_SHOWN, _TEMPERATURE, labels, seed=0)
            latents = model.encode(self._images, self._labels)
            decoded = model.decode(latents, self._labels)
        moments = {}
        for i, z in enumerate(split_levels(model, latents)):
            moments[f"latent_mean_{i}"] = float(tf.reduce_mean(z))
            moments[f"latent_variance_{i}"] = float(tf.math.reduce_variance(z))
        if logs is not None:
            logs.update(moments)
        pairs = tf.reshape(
            tf.stack([self._images, decoded], 1), [-1, *decoded.shape[1:]]
        )
        with self._writer.as_default(step=epoch):
            tf.summary.image("samples", tile(samples, None)[np.newaxis])
            tf.summary.image("reconstructions", tile(pairs, 10)[np.newaxis])
        self._writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Closes the file."""
        self._writer.close()
