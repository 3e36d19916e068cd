"""Arguments of a model, as it keeps them."""

from typing import Any

import keras
import numpy as np

from tfp_glow._suggest import suggestion

__all__ = ["check_glow_arguments", "plain", "policy_of"]

_INSTEAD = {
    "chain": "A model has to be made again of its arguments: give it `num_levels` and "
    "so on, or train `FlowModel(glow_distribution(Glow(..., chain=chain)))`.",
    "network_dtype": 'Give the model `dtype="mixed_bfloat16"`.',
}

_PRECISIONS = ("float32", "float64", "mixed_bfloat16")


def check_glow_arguments(glow_arguments: dict[str, Any]) -> None:
    """Raises `TypeError` where an argument of `Glow` is none of a model."""
    for key in _INSTEAD.keys() & glow_arguments:
        raise TypeError(
            f"`{key}` is an argument of `Glow` alone. Received: "
            f"{key}={glow_arguments[key]!r}. {_INSTEAD[key]}"
        )


def plain(value: Any) -> Any:
    """An argument without types of NumPy and TensorFlow, which JSON does not know."""
    if value is None or isinstance(value, str) or callable(value):
        return value
    value = np.asarray(value).tolist()
    return tuple(value) if isinstance(value, list) else value


def policy_of(dtype: Any) -> keras.DTypePolicy:
    """Keras's dtype policy of a name; the one that is set, where that is None.

    Raises:
        ValueError: If a model computes in no such precision.
    """
    policy = dtype or keras.config.dtype_policy()
    name = np.dtype(policy).name if isinstance(policy, type) else policy
    name = getattr(name, "name", name)
    if name not in _PRECISIONS:
        likely = "mixed_bfloat16" if str(name).endswith("float16") else str(name)
        raise ValueError(
            f"`dtype` must be one of {list(_PRECISIONS)}. Received: dtype={name!r}."
            f"{suggestion(likely, _PRECISIONS)} Parameters and log-determinants "
            "need float32, and float16 would need a scaled loss."
        )
    return keras.dtype_policies.get(name)
