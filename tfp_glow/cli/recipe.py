"""How a model is trained: Adamax, a moving average of the weights, the best epoch."""

import math
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfp_glow._checks import check_choice
from tfp_glow.adamax import Adamax
from tfp_glow.callbacks import (
    DivergenceGuard,
    EvaluateAverage,
    TrainingState,
    averaged_weights,
)
from tfp_glow.callbacks.divergence_guard import TrainingDiverged
from tfp_glow.callbacks.training_state import HasState
from tfp_glow.cli.history import History
from tfp_glow.cli.pictures import Pictures
from tfp_glow.cli.run_folder import STATE, save_model
from tfp_glow.cli.stop import StopOnSignal
from tfp_glow.cli.strategy import is_chief
from tfp_glow.glow_model import GlowModel
from tfp_glow.presets import Preset

__all__ = ["Fitted", "KeepBest", "fit_best", "make_optimizer"]

_SECONDS_BETWEEN_SAVES = 60


@dataclass(frozen=True)
class Fitted:
    """What came of a training.

    Attributes:
        best: The best epoch.
        history: The values of each epoch by their names.
        seconds: How long it took, interruptions apart.
    """

    best: "KeepBest"
    history: Mapping[str, list[float]]
    seconds: float


def make_optimizer(settings: Preset, total_steps: int) -> keras.optimizers.Optimizer:
    """Adamax with warm-up, decay and a moving average of the weights.

    Args:
        settings: Its numbers.
        total_steps: Steps of the whole training, of which at most half are warm-up.

    Returns:
        The optimizer.

    Raises:
        ValueError: If the decay is of a kind that there is not.
    """
    check_choice("decay", settings.decay, ["cosine", "constant"])
    warmup_steps = min(settings.warmup_steps, total_steps // 2)
    schedule = {
        "decay_steps": total_steps - warmup_steps,
        "initial_learning_rate": settings.learning_rate,
        # What it falls to, as a part of what it fell from.
        "alpha": 0.0 if settings.decay == "cosine" else 1.0,
    }
    if warmup_steps:
        schedule |= {
            "initial_learning_rate": 0.0,
            "warmup_target": settings.learning_rate,
            "warmup_steps": warmup_steps,
        }
    return Adamax(
        keras.optimizers.schedules.CosineDecay(**schedule),
        weight_decay=settings.weight_decay or None,  # Zero would cost a pass over them.
        use_ema=True,
        ema_momentum=settings.ema_momentum,
    )


class KeepBest(keras.callbacks.Callback):
    """Keeps a copy of the model as it was when its validation bits/dim were lowest.

    The copy has no optimizer, so its file is a quarter of the size. It is written when
    a minute has passed since the last time, so that a crash loses little, and at the
    end of training, an interrupted one's too: see `save`.

    Attributes:
        model_of_best: The copy, once there is one.
        best_epoch: Its epoch, counted from 1.
        best_bits_per_dim: Its bits/dim on the validation images.
    """

    def __init__(self, file: Path, *, stops: bool = True) -> None:
        """Keeps nothing yet.

        Args:
            file: Where the copy is written.
            stops: Whether training ends when bits/dim are not a finite number.
        """
        super().__init__()
        self.model_of_best: GlowModel | None = None
        self.best_epoch = 0
        self.best_bits_per_dim = math.inf
        self._file = file
        self._stops = stops
        self._is_saved = True
        self._saved_at = -math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Copies the weights if they are the best so far."""
        bits = logs["val_bits_per_dim"]
        if not math.isfinite(bits):
            # Weights do not come back from NaN by themselves.
            self.model.stop_training |= self._stops
        elif bits < self.best_bits_per_dim:
            if self.model_of_best is None:
                self.model_of_best = GlowModel.from_config(self.model.get_config())
            with averaged_weights(self.model):
                self.model_of_best.set_weights(self.model.get_weights())
            self.best_epoch, self.best_bits_per_dim = epoch + 1, bits
            self._is_saved = False
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self.save()

    def state(self) -> dict[str, np.ndarray]:
        """What `restore` takes."""
        state = {"best": np.array([self.best_epoch, self.best_bits_per_dim])}
        if self.model_of_best is not None:
            weights = self.model_of_best.get_weights()
            state |= {f"weight/{i}": value for i, value in enumerate(weights)}
        return state

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Goes on from a state."""
        epoch, self.best_bits_per_dim = map(float, state["best"])
        self.best_epoch = int(epoch)
        if self.best_epoch:
            model = GlowModel.from_config(self.model.get_config())
            model.set_weights([state[f"weight/{i}"] for i in range(len(state) - 1)])
            self.model_of_best, self._is_saved = model, False

    def save(self) -> None:
        """Writes the copy to its file unless it is there."""
        if not self._is_saved:
            save_model(self.model_of_best, self._file)
            self._is_saved = True
            self._saved_at = time.monotonic()


def fit_best(
    model: GlowModel,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: Preset,
    folder: Path,
    *,
    steps_per_epoch: int,
    on_start: Callable[[], None] = lambda: None,
    quiet: bool = False,
    seconds_between_saves: float = 600.0,
) -> Fitted:
    """Trains a model and keeps its best epoch in `folder/model.keras`.

    Validation, and so the choice of the best epoch, is of the moving average of the
    weights, and that average is what is kept; training goes on from the weights
    themselves. Keras's average starts from the weights after the first step, hence
    after the data-dependent initialisation.

    The state of the training is saved in `folder` at the beginning of every epoch, now
    and then within, and when a signal stops it; a state that is there is gone on from.

    Args:
        model: The model; afterwards its weights are the last epoch's, not the best.
        train: Batches to train on, without end, from that which the state asks for.
        validation: Batches to choose the best epoch on.
        settings: Numbers of the training.
        folder: The run folder.
        steps_per_epoch: Batches of an epoch.
        on_start: Called when nothing but the first step is left to do: it makes the
            folder ready.
        quiet: Whether to show no progress within an epoch.
        seconds_between_saves: How much of an epoch may be lost.

    Returns:
        What came of it.

    Raises:
        OSError: If something cannot be written.
        Stopped: If a signal stopped it.
        ValueError: If bits/dim were not a finite number in the first epoch already.
    """
    with model.distribute_strategy.scope():
        model.compile(
            make_optimizer(settings, settings.epochs * steps_per_epoch),
            clip_norm=settings.clip_norm,
        )
    best = KeepBest(folder / "model.keras", stops=not settings.guard)
    history = History(folder / "history.csv", settings.batch_size)
    parts: dict[str, HasState] = {"best": best, "history": history}
    guard = []
    if settings.guard:
        guard = [DivergenceGuard()]
        parts["guard"] = guard[0]
    state = TrainingState(
        folder / STATE,
        seconds_between_saves=seconds_between_saves,
        parts=parts,
        saves=is_chief(model.distribute_strategy),
    )
    stop = StopOnSignal(state, folder)
    callbacks = [
        keras.callbacks.LambdaCallback(on_train_begin=lambda logs: on_start()),
        state,
        stop,
        EvaluateAverage(validation),
        *guard,
        best,
        Pictures(folder / "logs", validation),
        history,
        keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
    ]
    try:
        with warnings.catch_warnings(), stop:
            # Keras warns at the end of validation images whose number is not known: of
            # a folder's pictures some may turn out to be cut short.
            warnings.filterwarnings("ignore", "Your input ran out of data")
            model.fit(
                train,
                validation_data=validation,
                epochs=settings.epochs,
                steps_per_epoch=steps_per_epoch,
                callbacks=callbacks,
                shuffle=False,  # The data set does it, and Keras would warn.
                verbose=1 if sys.stdout.isatty() and not quiet else 0,
            )
    except TrainingDiverged as error:
        print(error)
    finally:
        best.save()
    if best.model_of_best is None:
        (folder / STATE).unlink(missing_ok=True)  # It would go the same way again.
        raise ValueError(
            "Training diverged: in the first epoch bits/dim on the validation images "
            "were no finite number. Lower --learning-rate. Received: "
            f"learning_rate={settings.learning_rate}."
        )
    return Fitted(best, history.columns, state.total_seconds)
