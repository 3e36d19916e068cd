"""What `tfp-glow train` tells of each epoch, on the screen and in `history.csv`."""

import csv
import json
import time
from datetime import timedelta
from pathlib import Path

import keras
import numpy as np

from tfp_glow._files import replacing

__all__ = ["History"]


class History(keras.callbacks.Callback):
    """Keeps the values of each epoch, writes them to a file and prints the main ones.

    To what Keras logs it adds `learning_rate`, what the epoch ends with, and
    `images_per_second` of training.

    Attributes:
        rows: The values of each epoch by their names, with `epoch` from 0.
    """

    def __init__(self, file: Path, batch_size: int) -> None:
        """Has no epoch yet.

        Args:
            file: Where the values are written after each epoch.
            batch_size: Images in a batch.
        """
        super().__init__()
        self.rows: list[dict[str, float]] = []
        self._file = file
        self._batch_size = batch_size
        self._trained = 0.0  # seconds of this epoch
        self._num_steps = 0

    @property
    def columns(self) -> dict[str, list[float]]:
        """The values of all epochs by their names, as `keras.callbacks.History`."""
        names = dict.fromkeys(name for row in self.rows for name in row)
        return {n: [row.get(n, float("nan")) for row in self.rows] for n in names}

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Starts the clock."""
        self._started = time.monotonic()
        self._first_epoch = len(self.rows)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Starts the epoch's clock."""
        self._num_steps = 0
        self._epoch_started = time.monotonic()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Counts the steps."""
        self._num_steps += 1
        now = time.monotonic()
        self._trained = now - self._epoch_started
        if self._num_steps == 1 and len(self.rows) == self._first_epoch:
            self._started = now  # What is left to do has no graph to be built.

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Adds the epoch."""
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["images_per_second"] = round(
            self._num_steps * self._batch_size / max(self._trained, 1e-6), 1
        )
        self.rows.append(
            {"epoch": epoch, **{name: _plain(v) for name, v in logs.items()}}
        )
        with replacing(self._file) as partial, partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(self.columns))
            writer.writeheader()
            writer.writerows(self.rows)
        print(self._line(epoch, logs), flush=True)

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` takes."""
        return {"rows": np.array(json.dumps(self.rows))}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a state."""
        self.rows = json.loads(str(state["rows"]))
        self._first_epoch = len(self.rows)

    def _line(self, epoch: int, logs: dict[str, float]) -> str:
        num_epochs = self.params["epochs"]
        per_epoch = (time.monotonic() - self._started) / (
            len(self.rows) - self._first_epoch
        )
        left = timedelta(seconds=round(per_epoch * (num_epochs - epoch - 1)))
        raw = logs.get("val_bits_per_dim_raw")
        return (
            f"Epoch {epoch + 1}/{num_epochs}: {logs['bits_per_dim']:.4f} bits/dim, "
            f"validation {logs['val_bits_per_dim']:.4f}"
            + (f" (not averaged {raw:.4f})" if raw is not None else "")
            + f", gradient norm {logs['gradient_norm']:.3g}, "
            f"{logs['images_per_second']:,.0f} images/s, {left} left"
        )


def _plain(value: float) -> float | int:
    """As JSON takes it."""
    return value if isinstance(value, int) else float(value)
