"""Training that was interrupted goes on as if it had not been."""

import json
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from tfp_glow._files import replacing
from tfp_glow.version import __version__

__all__ = ["HasState", "TrainingState", "read_position"]


class HasState(Protocol):
    """A callback whose state is saved with the training's."""

    def state(self) -> dict[str, np.ndarray]:
        """Arrays that `restore` takes."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a state; called in the first `on_train_batch_begin`."""


class TrainingState(keras.callbacks.Callback):
    """Saves all that training needs to go on, and goes on from what it finds.

    That is weights, optimizer with slots, averages and number of steps, the epoch and
    the batch, the epoch's metrics, and what other callbacks keep. It is one file, which
    is there whole or not at all: a kill while it is written loses what is being
    written, and the one before is still there. `GlowModel` draws its noise by the
    number of the step, so a training that was killed ends in the same weights, to the
    last bit, as one that was not, if its data comes in the same order: for that of an
    epoch to hang on the epoch alone see `tfp_glow.data.endless_epochs`.

    It must be the first in the list of callbacks, but for Keras's `SwapEMAWeights`,
    which may come before it or after. Delete the file to begin anew.

    Attributes:
        epoch: The epoch that training is in, from 0.
        batch: Batches of it that are done.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "state.npz"
        >>> images = np.random.default_rng(0).integers(0, 256, [32, 4, 4, 1], np.uint8)
        >>> def fit(epochs):
        ...     model = GlowModel([4, 4, 1], num_levels=1, num_steps=1, seed=0)
        ...     options = dict(shuffle=False, callbacks=[TrainingState(file)])
        ...     return model.fit(images, epochs=epochs, verbose=0, **options).epoch
        >>> fit(2), fit(3)  # saved when the second epoch began: that comes again
        ([0, 1], [1, 2])
    """

    def __init__(
        self,
        file: str | Path,
        *,
        seconds_between_saves: float | None = None,
        parts: Mapping[str, HasState] | None = None,
        saves: bool = True,
    ) -> None:
        """Takes the file.

        Args:
            file: Where the state is, or will be; its name ends in `.npz`.
            seconds_between_saves: After how many seconds the state is saved within an
                epoch as well. Then the data must begin with the batch that
                `read_position` tells, and go on through all epochs without end, with
                `fit(steps_per_epoch=...)`. Only between epochs when not given.
            parts: Other callbacks of the same `fit`, by names of their own.
            saves: Whether this process writes the file, of several that read it.
        """
        super().__init__()
        self.epoch = self.batch = 0
        self._seconds_before = 0.0
        self._file = Path(file)
        self._saves = saves
        self._seconds_between_saves = seconds_between_saves
        self._parts = dict(parts or {})
        self._pending: dict[str, np.ndarray] | None = None
        self._num_before = 0  # batches of this epoch done by an earlier process
        self._is_new_epoch = False
        self._is_cut = False

    @property
    def total_seconds(self) -> float:
        """How long training has taken since it first began, interruptions apart."""
        return self._seconds_before + time.monotonic() - self._started

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Puts weights and optimizer back to where they were, if there is a file."""
        self._started = self._saved_at = time.monotonic()
        if self._seconds_between_saves is not None and self.params["steps"] is None:
            raise ValueError(
                "With `seconds_between_saves` the batches of an epoch must be known. "
                "Received: data of unknown length. Give `fit(steps_per_epoch=...)`."
            )
        if self._saves:
            self._file.parent.mkdir(parents=True, exist_ok=True)
        if not self._file.exists():
            return
        state = _read(self._file)
        _check(self._file, state, self._signature())
        self._assign(self._variables(), state, "variable")
        self.epoch, self.batch = map(int, state["position"])
        self._seconds_before = float(state["seconds"])
        self._num_before = self.batch
        self.model._initial_epoch = self.epoch  # as Keras's `BackupAndRestore` does
        self._pending = state

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Notes the epoch."""
        self._is_new_epoch = True
        if self._pending is None:
            self.epoch, self.batch = epoch, 0

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Saves what an epoch begins with, or goes on from what was saved.

        By now `on_epoch_begin` of all callbacks has been called, in which Keras's
        `SwapEMAWeights` puts the weights back where the average was.
        """
        if not self._is_new_epoch:
            return
        self._is_new_epoch = False
        if self._pending is None:
            self.save()
            return
        state, self._pending = self._pending, None
        self.model._initial_epoch = None
        self._assign(self._variables(), state, "variable")
        self._assign(self._metrics(), state, "metric")
        for name, part in self._parts.items():
            part.restore(_without_prefix(state, f"{name}/"))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Saves if it is time; ends an epoch that an earlier process began."""
        self.batch = self._num_before + batch + 1
        steps = self.params["steps"]
        if steps is not None and self.batch >= steps:
            # Keras would do as many batches as in any other epoch.
            if self._num_before > 0 and not self.model.stop_training:
                self._is_cut = self.model.stop_training = True
        elif (
            self._seconds_between_saves is not None
            and time.monotonic() > self._saved_at + self._seconds_between_saves
        ):
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Lets training go on after an epoch that was cut."""
        if self._is_cut:
            self._is_cut = self.model.stop_training = False
        self._num_before = 0

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Leaves nothing to a later `fit` where no epoch was left to this one."""
        self.model._initial_epoch = self._pending = None

    def save(self) -> None:
        """Writes the file, unless all that there is to save is what it holds already.

        Raises:
            OSError: If it cannot be written. The one before is still there, unless its
                folder is gone.
        """
        if not self._saves or self._pending is not None:
            return
        state = {
            "version": np.array(__version__),
            "signature": np.array(self._signature()),
            "position": np.array([self.epoch, self.batch]),
            "seconds": np.array(self.total_seconds),
        }
        state |= self._numbered("variable", self._variables())
        state |= self._numbered("metric", self._metrics())
        for name, part in self._parts.items():
            state |= {f"{name}/{key}": v for key, v in part.state().items()}
        try:
            with replacing(self._file) as partial, partial.open("wb") as file:
                np.savez(file, **state)
        except OSError as error:
            what = f"The state of the training cannot be written to {self._file}: "
            if not self._file.parent.is_dir():
                raise OSError(
                    f"{what}its folder is gone. If it was renamed, go on from the file "
                    "in it, or else begin anew."
                ) from error
            left = "there is none yet"
            if self._file.exists():
                epoch, batch = read_position(self._file)
                left = f"the last one, of epoch {epoch + 1}, batch {batch}, is intact"
            raise OSError(
                f"{what}{error.strerror or error}; {left}. Make room and go on from "
                "there."
            ) from error
        self._saved_at = time.monotonic()

    def _variables(self) -> list[keras.Variable]:
        return [*self.model.variables, *self.model.optimizer.variables]

    def _metrics(self) -> list[keras.Variable]:
        return [v for metric in self.model.metrics for v in metric.variables]

    def _numbered(
        self, name: str, variables: list[keras.Variable]
    ) -> dict[str, np.ndarray]:
        return {
            f"{name}/{i}": self._components(v)[0].numpy()
            for i, v in enumerate(variables)
        }

    def _assign(
        self, variables: list[keras.Variable], state: dict[str, np.ndarray], name: str
    ) -> None:
        for i, variable in enumerate(variables):
            for part in self._components(variable):
                part.assign(state[f"{name}/{i}"])

    def _components(self, variable: keras.Variable) -> tuple[tf.Variable, ...]:
        """What the devices of this process have of a variable: the same each.

        To read a metric as a whole would need all workers at the same time, and each
        saves when its own clock says so.
        """
        strategy = self.model.distribute_strategy
        return strategy.experimental_local_results(variable.value)

    def _signature(self) -> str:
        """Names, shapes and types of the variables."""
        return json.dumps(
            [[v.path, list(v.shape), str(v.dtype)] for v in self._variables()]
        )


def read_position(file: Path) -> tuple[int, int]:
    """Epoch, from 0, and batches of it that are done; zeros if there is no file.

    Raises:
        ValueError: If the file is damaged.
    """
    if not file.exists():
        return 0, 0
    epoch, batch = _read(file, "position")["position"]
    return int(epoch), int(batch)


def _read(file: Path, *names: str) -> dict[str, np.ndarray]:
    """Some arrays of a state, or all."""
    try:
        with np.load(file, allow_pickle=False) as state:
            return {name: state[name] for name in names or state.files}
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{file} is no state of a training, or is damaged: {error}. Delete it to "
            "begin anew."
        ) from error


def _check(file: Path, state: dict[str, np.ndarray], signature: str) -> None:
    """Raises unless a state is of this version and of this model."""
    version = str(state["version"])
    if version != __version__:
        raise ValueError(
            f"{file} was written by tfp_glow {version}, and this is {__version__}: "
            "training would not go on as it began. Install that version, or delete the "
            "file to begin anew."
        )
    saved, expected = json.loads(str(state["signature"])), json.loads(signature)
    for one, other in zip(saved, expected, strict=False):
        if one[1:] != other[1:]:
            raise ValueError(
                f"{file} is of another model or optimizer: {one[0]} has shape {one[1]} "
                f"({one[2]}) in it, and here {other[0]} has {other[1]} ({other[2]})."
            )
    if len(saved) != len(expected):
        raise ValueError(
            f"{file} is of another model or optimizer: it has {len(saved)} variables, "
            f"and here there are {len(expected)}."
        )


def _without_prefix(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
