"""Checks of arguments that more than one file makes, and their messages."""

import random
from collections.abc import Iterable, Sequence
from math import inf
from numbers import Integral, Real
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_glow._suggest import suggestion

Parameter = tf.Tensor | tf.Variable | tfp.util.DeferredTensor


def check_positive_integer(name: str, value: int) -> None:
    """Raises `ValueError` unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"`{name}` must be a positive integer. Received: {name}={value!r}."
        )


def check_positive_number(name: str, value: float) -> None:
    """Raises `ValueError` unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < inf:
        raise ValueError(
            f"`{name}` must be a positive, finite number. Received: {name}={value!r}."
        )


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raises `ValueError` unless `value` is one of `choices`."""
    choices = list(choices)
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {choices}. Received: {name}={value!r}."
            f"{suggestion(str(value), map(str, choices))}"
        )


def check_finite(name: str, values: Any) -> None:
    """Raises `ValueError` unless `values` are finite numbers, as far as is known."""
    known = tf.get_static_value(values) if tf.is_tensor(values) else values
    if known is None:  # of a graph
        return
    try:
        is_finite = bool(np.isfinite(np.asarray(known, float)).all())
    except (TypeError, ValueError):
        is_finite = False
    if not is_finite:
        raise ValueError(
            f"`{name}` must be of finite numbers. Received: {name}={known!r}."
        )


def as_rng(seed: int | np.random.Generator | None) -> np.random.Generator:
    """NumPy's generator of a seed; raises `ValueError` where there can be none.

    Without a seed Python's `random` decides, as for Keras's layers, and thereby
    `keras.utils.set_random_seed`.
    """
    if seed is None:
        seed = random.getrandbits(128)
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`seed` must be None or an integer of at least 0. Received: seed={seed!r}."
        ) from error


def check_continuous(name: str, dtype: tf.DType) -> None:
    """Raises `TypeError` unless values of this type are floating-point numbers."""
    if not dtype.is_floating:
        raise TypeError(
            f"`{name}` must be continuous: floating-point numbers as the bijector's "
            f"inverse takes them. Received: dtype={dtype.name}. Use `dequantize` on "
            "images."
        )


def as_floating(name: str, dtype: tf.DType) -> tf.DType:
    """TensorFlow's type of a name or of NumPy's; raises unless it is a floating one."""
    try:
        found = tf.as_dtype(dtype)
    except TypeError:
        found = None
    if found is None or not found.is_floating:
        names = ["float16", "bfloat16", "float32", "float64"]
        raise TypeError(
            f"`{name}` must be a type of floating-point numbers: one of {names}. "
            f"Received: {name}={dtype!r}.{suggestion(str(dtype), names)}"
        )
    return found


def check_even_channels(channels: int) -> None:
    """Raises `ValueError` unless there are two halves for a coupling."""
    check_positive_integer("channels", channels)
    if channels % 2:
        raise ValueError(
            "A coupling needs an even number of channels: one half conditions the "
            f"other. Received: channels={channels}. Squeeze the image first, or pad "
            "the channels."
        )


def are_compatible(a: tf.TensorShape, b: tf.TensorShape) -> bool:
    """Whether two shapes broadcast to one, as far as is known."""
    try:
        tf.broadcast_static_shape(a, b)
    except ValueError:
        return False
    return True


def check_event(
    x: tf.Tensor, event_shape: Sequence[int | None], name: str
) -> tf.Tensor:
    """Returns `x`, known to end in `event_shape`, or raises `ValueError`."""
    if x.shape.rank is not None:
        last = x.shape.as_list()[-len(event_shape) :]  # TensorFlow's own take longer
        if None not in last and len(last) == len(event_shape):
            if all(b in (None, a) for a, b in zip(last, event_shape, strict=True)):
                return x
    shape = with_event(x.shape, event_shape, name)
    return x if x.shape == shape else tf.ensure_shape(x, shape)


def with_event(
    shape: tf.TensorShape, event_shape: Sequence[int | None], name: str
) -> tf.TensorShape:
    """Returns `shape`, known to end in `event_shape`, or raises `ValueError`."""
    known = shape[: -len(event_shape)].concatenate(event_shape)
    if not shape.is_compatible_with(known):
        raise ValueError(
            f"The input of `{name}` must have shape {['...', *event_shape]}. "
            f"Received: shape={shape}."
        )
    return shape.merge_with(known)


def check_event_shape(event_shape: Sequence[int], num_levels: int) -> tuple[int, ...]:
    """Checks that images of a shape can be squeezed `num_levels` times.

    Args:
        event_shape: `[H, W, C]`.
        num_levels: How often height and width are halved.

    Returns:
        `(H, W, C)`.

    Raises:
        ValueError: If they cannot.
    """
    check_positive_integer("num_levels", num_levels)
    shape = tf.TensorShape(event_shape)
    if shape.rank != 3 or not shape.is_fully_defined() or not min(shape):
        raise ValueError(
            "`event_shape` must be three positive numbers: height, width and channels. "
            f"Received: event_shape={event_shape!r}."
        )
    height, width, channels = shape.as_list()
    factor = 2**num_levels
    if height % factor or width % factor:
        raise ValueError(
            f"`num_levels`={num_levels} needs height and width divisible by {factor}. "
            f"Received: event_shape={(height, width, channels)}. Pad the images or "
            "lower `num_levels`."
        )
    return height, width, channels


def as_parameter(
    name: str,
    value: Parameter,
    event_shape: Sequence[int],
    dtype: tf.DType | None = None,
) -> Parameter:
    """Takes a parameter as TFP's bijectors do: variables stay variables.

    Args:
        name: What the parameter is called, for the message.
        value: A tensor, a `tf.Variable`, a `tfp.util.DeferredTensor`, a Keras
            variable, or anything that `tf.convert_to_tensor` takes.
        event_shape: Its shape, batch dimensions apart.
        dtype: Type of a converted value.

    Returns:
        `value`, converted to a tensor when it is none of TensorFlow's.

    Raises:
        ValueError: If the shape does not end in `event_shape`.
    """
    if isinstance(getattr(value, "value", None), tf.Variable):
        value = value.value  # a Keras variable: the `tf.Variable` that it wraps
    if not isinstance(value, tf.Variable | tfp.util.DeferredTensor):
        hint = None if hasattr(value, "dtype") else dtype  # arrays keep their own
        value = tf.convert_to_tensor(value, dtype_hint=hint)
    ndims = len(event_shape)
    if value.shape.rank is not None and (
        value.shape.rank < ndims
        or not value.shape[value.shape.rank - ndims :].is_compatible_with(event_shape)
    ):
        raise ValueError(
            f"`{name}` must have shape {['...', *event_shape]}. "
            f"Received: {name}.shape={value.shape}."
        )
    return value
