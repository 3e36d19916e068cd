"""A checkpoint file of TensorFlow 1 that openai/glow wrote."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["SCOPE", "Checkpoint", "Shapes"]

Shapes = dict[str, tuple[int, ...]]

SCOPE = "model/"
"""What the names of openai/glow's variables begin with."""

_MOVING_AVERAGE = "/ExponentialMovingAverage"
_NOT_TRAINED = ("indices", "indices_inverse", "P", "sign_S")
# The optimizer's variables have no names of their own in openai/glow.
_OPTIMIZER = re.compile(r"(Variable|global_step|beta\d_power)(_\d+)?")


@dataclass(frozen=True)
class Checkpoint:
    """A file of variables.

    Attributes:
        path: Its path without `.index`.
        reader: TensorFlow's reader.
        shapes: Shapes of openai/glow's variables by their names, `model/` left out.
    """

    path: str
    reader: Any
    shapes: Shapes

    @classmethod
    def open(cls, directory: str | Path) -> "Checkpoint":
        """Opens a checkpoint and finds the model's variables in it."""
        path = _find(Path(directory))
        try:
            reader = tf.train.load_checkpoint(path)
            shapes = reader.get_variable_to_shape_map()
        except Exception as error:  # TensorFlow's bindings raise many kinds.
            raise ValueError(
                f"{path}.index cannot be read as a checkpoint of TensorFlow: "
                f"{_first_line(error)}. Copy it and its .data file again."
            ) from error
        names = {
            name.removeprefix(SCOPE)
            for name in shapes
            if name.startswith(SCOPE) and not name.endswith(_MOVING_AVERAGE)
        }
        if not names:
            first = min(shapes, default="nothing")
            raise ValueError(
                f"{path} is no checkpoint of openai/glow: none of its variables is "
                f"called {SCOPE}... Received: {first!r}"
                f"{f' and {len(shapes) - 1} more' if len(shapes) > 1 else ''}."
            )
        # Slots of optimizers that do name them: `model/0/0/invconv/W/Adam`.
        names = {name for name in names if name.rpartition("/")[0] not in names}
        for name in sorted(shapes):
            base = name.removesuffix(_MOVING_AVERAGE)
            is_average_of_nothing = base not in shapes
            is_known = name.startswith(SCOPE) or _OPTIMIZER.fullmatch(name)
            if not is_known or is_average_of_nothing:
                raise ValueError(
                    f"{path} has a variable {name!r}, which openai/glow does not make."
                )
        shapes = {name: tuple(shapes[SCOPE + name]) for name in names}
        return cls(path, reader, shapes)

    def read(self, names: Iterable[str], *, use_ema: bool) -> dict[str, np.ndarray]:
        """Reads variables, or their moving averages.

        All else is read too, and dropped: a file that was cut short is not used.
        """
        stored = self.reader.get_variable_to_shape_map()
        wanted = {SCOPE + name: name for name in sorted(names)}
        if use_ema:
            wanted = {self._average_of(name): short for name, short in wanted.items()}
        values = {}
        for name in [*sorted(wanted), *sorted(stored.keys() - wanted.keys())]:
            value = self._read_one(name)
            if name in wanted:
                if not np.all(np.isfinite(value)):
                    raise ValueError(
                        f"{self.path}: {name!r} holds numbers that are not finite. "
                        "Its training had diverged: take an earlier checkpoint."
                    )
                values[wanted[name]] = value
        return values

    def _average_of(self, name: str) -> str:
        """Name of a variable's moving average; its own where it is not trained."""
        if name.rpartition("/")[2] in _NOT_TRAINED:
            return name
        stored = self.reader.get_variable_to_shape_map()
        average = name + _MOVING_AVERAGE
        if stored.get(average) != stored[name]:
            raise ValueError(
                f"{self.path} has no moving averages to use: {average!r} must have "
                f"shape {tuple(stored[name])}. Received: "
                f"{stored.get(average, 'no such variable')}. Leave `use_ema` out."
            )
        return average

    def _read_one(self, name: str) -> np.ndarray:
        try:
            return self.reader.get_tensor(name)
        except Exception as error:  # TensorFlow's bindings raise many kinds.
            files = ", ".join(sorted(map(str, _data_files(self.path))))
            raise ValueError(
                f"{files or self.path + '.data-*'}: {name!r} cannot be read: "
                f"{_first_line(error)}. The file is missing, was cut short or damaged: "
                "copy it again."
            ) from error


def _find(path: Path) -> str:
    """Path of a checkpoint without `.index`."""
    if not path.is_dir():
        prefix = path.with_suffix("") if path.suffix == ".index" else path
        if prefix.with_name(f"{prefix.name}.index").is_file():
            return str(prefix)
        raise FileNotFoundError(
            f"{path} is no folder of a checkpoint, and there is no "
            f"{prefix.name}.index. Received: directory={str(path)!r}."
        )
    names = sorted(file.stem for file in path.glob("*.index"))
    try:
        state = tf.train.get_checkpoint_state(path) if names else None
    except (tf.errors.OpError, UnicodeDecodeError):
        state = None
    # The paths in a `checkpoint` file are often those of another machine.
    latest = Path(state.model_checkpoint_path).name if state else None
    if latest in names:
        return str(path / latest)
    if len(names) == 1:
        return str(path / names[0])
    if names:
        raise ValueError(
            f"{path} holds {len(names)} checkpoints, {', '.join(names)}, and no file "
            f"`checkpoint` that names one of them. Name one: {path / names[0]}."
        )
    raise FileNotFoundError(
        f"{path} holds no checkpoint: no file in it ends in .index. openai/glow writes "
        "model_best_loss.ckpt.index and .data-00000-of-00001 into its --logdir."
    )


def _data_files(path: str) -> Iterable[Path]:
    file = Path(path)
    return file.parent.glob(f"{file.name}.data-*")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error) else "no reason"
