"""Evaluation of a moving average of the weights, while the weights are trained."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import keras
import tensorflow as tf

__all__ = ["EvaluateAverage", "averaged_weights"]

_averaged: WeakSet[keras.optimizers.Optimizer] = WeakSet()
"""The optimizers whose averages are in their models now."""


@contextmanager
def averaged_weights(model: keras.Model) -> Iterator[None]:
    """Puts the optimizer's moving average of the weights into a model for a while.

    The weights and the average change places and come back to the last bit, which
    Keras's `SwapEMAWeights`, who adds and subtracts, does not promise. Before the first
    step there is no average, nor is there without `use_ema=True` in the optimizer:
    then nothing happens, nor where the average is in the model already.

    Args:
        model: A compiled model.

    Example:
        >>> model = GlowModel([4, 4, 1], num_levels=1, num_steps=1, hidden_channels=4)
        >>> model.compile(Adamax(use_ema=True))
        >>> images = np.zeros([8, 4, 4, 1], np.uint8)
        >>> history = model.fit(images, verbose=0)
        >>> with averaged_weights(model):
        ...     samples = model.sample(4)
    """
    optimizer = getattr(model, "optimizer", None)
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that scales a loss
    if (
        optimizer is None
        or not optimizer.use_ema
        or not int(optimizer.iterations.numpy())
        or optimizer in _averaged
    ):
        yield
        return
    averages = optimizer._model_variables_moving_average
    pairs = list(zip(optimizer._trainable_variables, averages, strict=True))
    _swap(pairs)
    _averaged.add(optimizer)
    try:
        yield
    finally:
        _averaged.remove(optimizer)
        _swap(pairs)


def _swap(pairs: list[tuple[keras.Variable, keras.Variable]]) -> None:
    for variable, average in pairs:
        value = tf.identity(variable.value)
        variable.assign(average.value)
        average.assign(value)


class EvaluateAverage(keras.callbacks.Callback):
    """Validates the optimizer's moving average of the weights, and the weights too.

    `fit` then logs of the average `val_loss` and what else there is, and of the
    weights themselves the same with `_raw` behind it. Training goes on from the
    weights. The optimizer needs `use_ema=True`; after `fit` Keras leaves the average in
    the model. `averaged_weights` is for whatever else is to use it meanwhile.

    At the end of an epoch the weights are back: `ModelCheckpoint` and `EarlyStopping`
    would choose by the average, and keep the weights. With these use Keras's
    `SwapEMAWeights(swap_on_epoch=True)` instead, before them in the list.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, [32, 8, 8, 1], np.uint8)
        >>> model = GlowModel([8, 8, 1], num_levels=2, num_steps=1, hidden_channels=8)
        >>> model.compile(Adamax(1e-3, use_ema=True))
        >>> history = model.fit(
        ...     images,
        ...     validation_data=images,
        ...     callbacks=[EvaluateAverage(images)],
        ...     verbose=0,
        ... )
        >>> [name for name in history.history if "val_bits" in name]
        ['val_bits_per_dim', 'val_bits_per_dim_raw']
    """

    def __init__(
        self, x: Any = None, y: Any = None, batch_size: int | None = None
    ) -> None:
        """Takes what the weights themselves are validated on.

        Args:
            x: Images or batches, as `evaluate` takes them: `validation_data`, or, to
                save time, a part of it. Only the average is validated when not given.
            y: Labels, where x is an array and the model has classes.
            batch_size: Of arrays; 32 when not given. The weights meet the same noise
                as the average where it is that of `fit`.
        """
        super().__init__()
        self._batch_size = batch_size
        self._x = x
        self._y = y
        self._stack = ExitStack()

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Puts the average in place."""
        self._stack.enter_context(averaged_weights(self.model))

    def on_test_end(self, logs: dict[str, float] | None = None) -> None:
        """Puts the weights back."""
        self._stack.close()

    def on_test_failed(self) -> None:
        """Puts the weights back; `FlowModel.evaluate` calls this, Keras nothing."""
        self._stack.close()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Validates the weights."""
        if self._x is None or logs is None:
            return
        raw = self.model.evaluate(
            self._x, self._y, self._batch_size, verbose=0, return_dict=True
        )
        logs.update({f"val_{name}_raw": value for name, value in raw.items()})
