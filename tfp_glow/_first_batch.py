"""A look at data before training."""

from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["check_sample_weight", "first_batch", "reject_targets"]


def reject_targets(y: Any) -> None:
    """Raises where there are targets, which nothing would use."""
    if y is not None:
        raise ValueError(
            "A `FlowModel` trains on x alone. Received: targets y as well. Pass x, or "
            "map the data set to x."
        )


def check_sample_weight(y: Any, kwargs: dict[str, Any]) -> None:
    """Raises where Keras would drop the weights without a word."""
    if y is None and kwargs.get("sample_weight") is not None:
        raise ValueError(
            "Keras passes `sample_weight` on only where there are labels `y`. "
            "Received: sample_weight without y. Repeat or leave out examples instead."
        )


def first_batch(x: Any, y: Any, batch_size: int) -> tuple | None:
    """A batch to look at before training, as Keras would hand it out.

    Of arrays it takes examples from all over, for they may be sorted.
    """
    if isinstance(x, tf.data.Dataset):
        return next(iter(x), None)
    if isinstance(x, tf.distribute.DistributedDataset):
        values = next(iter(x), None)
        gather = partial(tf.distribute.get_strategy().gather, axis=0)
        return tf.nest.map_structure(gather, values)
    if isinstance(x, keras.utils.PyDataset):
        return x[0] if len(x) else None
    is_loader = hasattr(x, "__iter__") and not hasattr(x, "shape")
    if is_loader and not isinstance(x, dict | list | tuple):  # PyTorch's or Grain's
        batch = next(iter(x), None)
        parts = tuple(batch) if isinstance(batch, list | tuple) else (batch,)
        return batch if batch is None else tf.nest.map_structure(_as_array, parts)
    parts = tf.nest.flatten((x, y))[: None if y is not None else -1]
    if x is None or not parts:
        return None
    sizes = {tuple(np.shape(part)[:1]) for part in parts}
    if () in sizes or len(sizes) > 1:
        raise ValueError(
            "`x` and `y` must be arrays or tensors of as many examples. Received: "
            f"shapes {[*dict.fromkeys(map(np.shape, parts))]}."
        )
    ((size,),) = sizes
    if not size:
        return None
    indices = np.unique(np.linspace(0, size - 1, batch_size).astype(int))
    return tf.nest.map_structure(
        lambda part: (
            tf.gather(part, indices)
            if tf.is_tensor(part)
            else np.asarray(part)[indices]
        ),
        (x,) if y is None else (x, y),
    )


def _as_array(part: Any) -> np.ndarray:
    """Also of a tensor of PyTorch's, which may be on a GPU."""
    return np.asarray(part.cpu() if hasattr(part, "cpu") else part)
