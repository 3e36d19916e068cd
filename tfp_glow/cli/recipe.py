"""How a model is trained: Adamax, a moving average of the weights, the best epoch."""

import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from tfp_glow._checks import check_choice
from tfp_glow.adamax import Adamax
from tfp_glow.callbacks import EvaluateAverage, averaged_weights
from tfp_glow.cli.run_folder import save_model
from tfp_glow.glow_model import GlowModel
from tfp_glow.presets import Preset

__all__ = ["KeepBest", "fit_best", "make_optimizer"]

_SECONDS_BETWEEN_SAVES = 60


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

    def __init__(self, file: Path) -> None:
        """Keeps nothing yet.

        Args:
            file: Where the copy is written.
        """
        super().__init__()
        self.model_of_best: GlowModel | None = None
        self.best_epoch = 0
        self.best_bits_per_dim = math.inf
        self._file = file
        self._is_saved = True
        self._saved_at = -math.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Copies the weights if they are the best so far."""
        bits = logs["val_bits_per_dim"]
        if not math.isfinite(bits):
            self.model.stop_training = True  # Weights do not come back from NaN.
        elif bits < self.best_bits_per_dim:
            if self.model_of_best is None:
                self.model_of_best = GlowModel.from_config(self.model.get_config())
            with averaged_weights(self.model):
                self.model_of_best.set_weights(self.model.get_weights())
            self.best_epoch, self.best_bits_per_dim = epoch + 1, bits
            self._is_saved = False
        if time.monotonic() - self._saved_at > _SECONDS_BETWEEN_SAVES:
            self.save()

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
    on_start: Callable[[], None],
) -> tuple[KeepBest, dict[str, list[float]]]:
    """Trains a model and keeps its best epoch in `folder/model.keras`.

    Validation, and so the choice of the best epoch, is of the moving average of the
    weights, and that average is what is kept; training goes on from the weights
    themselves. Keras's average starts from the weights after the first step, hence
    after the data-dependent initialisation.

    Args:
        model: The model; afterwards its weights are the last epoch's, not the best.
        train: Batches to train on, of a known number.
        validation: Batches to choose the best epoch on.
        settings: Numbers of the training.
        folder: The run folder.
        on_start: Called when nothing but the first step is left to do: it makes the
            folder ready.

    Returns:
        The best epoch, and the values of each epoch by their names.

    Raises:
        ValueError: If bits/dim were not a finite number in the first epoch already.
    """
    total_steps = settings.epochs * int(train.cardinality())
    model.compile(make_optimizer(settings, total_steps), clip_norm=settings.clip_norm)
    best = KeepBest(folder / "model.keras")
    callbacks = [
        keras.callbacks.LambdaCallback(on_train_begin=lambda logs: on_start()),
        EvaluateAverage(validation),
        best,
        keras.callbacks.CSVLogger(folder / "history.csv"),
        keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
    ]
    try:
        with warnings.catch_warnings():
            # Keras warns at the end of validation images whose number is not known: of
            # a folder's pictures some may turn out to be cut short.
            warnings.filterwarnings("ignore", "Your input ran out of data")
            history = model.fit(
                train,
                validation_data=validation,
                epochs=settings.epochs,
                callbacks=callbacks,
                shuffle=False,  # The data set does it, and Keras would warn.
                verbose=1 if sys.stdout.isatty() else 2,
            )
    finally:
        best.save()
    if best.model_of_best is None:
        raise ValueError(
            "Training diverged: in the first epoch bits/dim on the validation images "
            "were no finite number. Lower --learning-rate. Received: "
            f"learning_rate={settings.learning_rate}."
        )
    return best, history.history
