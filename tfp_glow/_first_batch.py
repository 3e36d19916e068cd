"""A look at data before training, at its first batch, and at weights of examples."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow.bijectors.initialize import (
    dtype_of,
    initialize_bijector,
    is_initialized,
)

tfd = tfp.distributions

__all__ = [
    "as_weights",
    "check_sample_weight",
    "first_batch",
    "initialize_distribution",
    "look_at_first",
    "look_at_validation",
    "reject_targets",
]


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


def as_weights(sample_weight: Any, losses: tf.Tensor) -> tf.Tensor | None:
    """Weights of the shape of the losses that they are for, so that none broadcasts.

    Args:
        sample_weight: As Keras hands it out, `[B]` or `[B, 1]`, or None.
        losses: `[B]`.

    Returns:
        The weights, `[B]`, in the type of the losses; None where there are none.

    Raises:
        ValueError: If they have another shape.
        tf.errors.InvalidArgumentError: If that is only known when it runs.
    """
    if sample_weight is None:
        return None
    weights, shape = tf.cast(sample_weight, losses.dtype), losses.shape
    expected = "`sample_weight` must have shape [B] or [B, 1], one number an example"
    if not any(map(weights.shape.is_compatible_with, (shape, shape.concatenate([1])))):
        raise ValueError(
            f"{expected}: here {shape}, with or without a last 1. Received: "
            f"shape={weights.shape}. Average or add up what there is of an example."
        )
    # For a B that is not known before. XLA, which asserts nothing, can reshape alone.
    tf.debugging.assert_equal(tf.size(weights), tf.size(losses), f"{expected}.")
    return tf.reshape(weights, tf.shape(losses))


def look_at_first(x: Any, y: Any, batch_size: int) -> tuple[tuple, Any]:
    """The first batch of what `fit` is given, and x as Keras is to get it.

    Args:
        x: What `fit` takes.
        y: Labels, where x is an array.
        batch_size: Of arrays.

    Raises:
        ValueError: If there is no batch.
    """
    if isinstance(x, Iterator):
        first = next(x, None)
        x = (batch for batch in chain([first], x))  # Keras wants a generator
    else:
        first = first_batch(x, y, batch_size)
    if first is None:
        raise ValueError("`fit` needs data. Received: an empty data set.")
    return first, x


def look_at_validation(
    data: Any, check_targets: Callable[[Any], Any], check_batch: Callable[[tuple], Any]
) -> Any:
    """What `fit` is given as `validation_data`, as Keras is to get it.

    Of arrays a batch is looked at, and of a data set what it says of its batches; what
    can be read once is left alone.

    Args:
        data: What `fit` takes.
        check_targets: Called with the targets of arrays; returns them for Keras.
        check_batch: Called with a batch; raises where the model cannot take it.

    Raises:
        TypeError: If it is of a type that the model does not take.
        ValueError: If the model does not take it, or Keras would drop its weights.
    """
    if isinstance(data, tf.data.Dataset):
        check = tf.function(check_batch, autograph=False)
        check.get_concrete_function(data.element_spec)
    if not hasattr(data, "shape") and not isinstance(data, list | tuple):
        return data
    x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
    check_sample_weight(y, {"sample_weight": weights})
    y = check_targets(y)
    first = None if isinstance(x, Iterator) else first_batch(x, y, 32)
    if first is not None:
        check_batch(first)
    return x, y, weights


def initialize_distribution(flow: tfd.Distribution, x: Any, dtype: str) -> None:
    """Data-dependent initialisation of the bijector of a distribution, if it has one.

    Args:
        flow: The distribution; warns if not all in it can be initialised.
        x: What it is initialised from.
        dtype: Type of x where the bijector has none.
    """
    outermost = flow
    while not hasattr(flow, "bijector") and hasattr(flow, "distribution"):
        flow = flow.distribution  # of a `tfd.Independent`, say
    bijector = getattr(flow, "bijector", None)
    if bijector is not None:
        dtype = dtype_of(bijector) or tf.as_dtype(dtype)
        initialize_bijector(bijector, tf.cast(x, dtype), only_new=True)
    if not is_initialized(outermost):
        warnings.warn(
            f"{outermost.name} holds act-norms that `fit` cannot initialise, within "
            "parts of TFP's that it cannot walk through, or `steps` of a level. Use "
            "`tfp_glow.initialize` on what holds them.",
            stacklevel=5,
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
        return x[0] if x.num_batches != 0 else None  # None where there is no end
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
