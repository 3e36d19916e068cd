"""The callbacks of a `fit`, however they are given."""

from collections.abc import Iterable
from typing import Any

import keras

__all__ = ["each_callback", "look_for_minimum", "tell_of_failed_test"]

_FIGURES = {"loss", "gradient_norm", "bits_per_dim", "label_bits"}
"""What our models log, of all of which less is better."""


def each_callback(callbacks: Any) -> list[keras.callbacks.Callback]:
    """All of one, of nested lists or of Keras's own list, as they are called."""
    found = []
    for part in keras.tree.flatten(callbacks) if callbacks else []:
        is_list = isinstance(part, keras.callbacks.CallbackList)
        found += each_callback(part.callbacks) if is_list else [part]
    return found


def look_for_minimum(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Sets `mode` to "min" in those that are to find it out by themselves, of a figure.

    Keras, which knows of the metrics alone that `compile` is given, raises after an
    epoch.
    """
    for callback in callbacks:
        name = str(getattr(callback, "monitor", None))
        name = name.removeprefix("val_").removesuffix("_raw")
        if name in _FIGURES and getattr(callback, "mode", None) == "auto":
            callback.mode = "min"


def tell_of_failed_test(callbacks: Iterable[keras.callbacks.Callback]) -> None:
    """Calls `on_test_failed`, which Keras does not know, of those that have it."""
    for callback in callbacks:
        if hasattr(callback, "on_test_failed"):
            callback.on_test_failed()
