"""A model's weights as a safetensors file: tensors by name, and nothing that runs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from tfp_glow._checks import check_choice
from tfp_glow._files import replacing
from tfp_glow.bijectors import GlowLevel

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["assign_weights", "named_variables", "read_weights", "write_weights"]

_HALF = "float16"
_NUM_NAMED = 3
"""Of the tensors that do not fit, as many as a message names."""


def named_variables(model: "GlowModel") -> dict[str, tf.Variable]:
    """A model's variables by names that say where they are: `levels/0/act_norm/shift`.

    The names depend on the model's arguments alone. Variables of a user's networks have
    numbers: `levels/0/networks/2/0`.

    Raises:
        NotImplementedError: If a variable has no name.
    """
    named: dict[str, tf.Variable] = {}

    def add(path: str, variables: Mapping[Any, tf.Variable]) -> None:
        named.update({f"{path}/{key}": value for key, value in variables.items()})

    def add_level(path: str, level: GlowLevel) -> None:
        add(path, level.stacked | {"initialized": level.initialized})
        for k, network in enumerate(level.networks or ()):
            add(f"{path}/networks/{k}", dict(enumerate(network.variables)))

    chain = model.glow.chain
    for i, level in enumerate(chain.levels):
        add_level(f"levels/{i}", level)
    for i, prior in enumerate(chain.split_priors):
        add(f"split_priors/{i}", prior.network.parameters)
    for part in ("prior", "class_prior"):
        if prior := getattr(chain.top_prior, part, None):
            add(f"top_prior/{part}", prior.parameters)
    if model.dequantizer is not None:
        add_level("dequantizer", model.dequantizer.level)
    if model.classifier is not None:
        add("classifier", model.classifier.parameters)
    if len(named) != len(model.weights):
        raise NotImplementedError(
            f"Of this model's {len(model.weights)} variables {len(named)} have a name. "
            "Save it as a `.keras` file: `model.save`."
        )
    return named


def write_weights(model: "GlowModel", file: Path, dtype: str | None = None) -> None:
    """Writes a model's weights and, as metadata, its arguments as JSON.

    Args:
        model: The model.
        file: Its name.
        dtype: `"float16"`, to which coupling networks are rounded; the model's when not
            given.

    Raises:
        ValueError: If another type is asked for, or a weight is too large for it.
    """
    tensors = {name: np.asarray(v) for name, v in named_variables(model).items()}
    if dtype is not None:
        check_choice("dtype", dtype, [_HALF])
        tensors = {
            name: _rounded(name, tensor) if _is_of_network(name) else tensor
            for name, tensor in tensors.items()
        }
    metadata = {"library": "tfp_glow", "config": json.dumps(model.get_config())}
    with replacing(file) as partial:
        # Not `save_file`, whose files only their owner can read.
        partial.write_bytes(save(tensors, metadata=metadata))


def read_weights(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `write_weights` wrote: the model's arguments, and tensors by name.

    Raises:
        ValueError: If it is damaged or something else.
    """
    try:
        with safe_open(file, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{file} is no safetensors file, or was cut short: {error}."
        ) from error
    try:
        config = json.loads(metadata["config"])
    except (KeyError, ValueError) as error:
        raise ValueError(
            f"{file} does not say of which model it is: it was not written by "
            f"`save_pretrained`. Received: metadata of {sorted(metadata)}."
        ) from error
    return config, tensors


def assign_weights(model: "GlowModel", tensors: Mapping[str, np.ndarray]) -> None:
    """Gives a model the weights of a file, those too that were rounded to float16.

    Raises:
        ValueError: If names, shapes or types are not the model's.
    """
    variables = named_variables(model)
    tensors = {
        name: _as_type_of(variables.get(name), tensor)
        for name, tensor in tensors.items()
    }
    received = {name: _describe(tensor) for name, tensor in tensors.items()}
    expected = {name: _describe(variable) for name, variable in variables.items()}
    if received != expected:
        names = sorted(received.items() ^ expected.items())
        names = list(dict.fromkeys(name for name, _ in names))
        problems = [
            f"{name} must be {expected.get(name, 'left out')}, received: "
            f"{received.get(name, 'none')}"
            for name in names[:_NUM_NAMED]
        ]
        more = f"; and {len(names) - _NUM_NAMED} more" * (len(names) > _NUM_NAMED)
        raise ValueError(
            f"These are weights of another model: {'; '.join(problems)}{more}."
        )
    for name, variable in variables.items():
        variable.assign(tensors[name])


def _is_of_network(name: str) -> bool:
    """Whether a coupling network's, ours or a user's: nearly all numbers of a model.

    The flow's own parameters are few, and rounding them costs likelihood.
    """
    return not {"network", "networks"}.isdisjoint(name.split("/"))


def _rounded(name: str, tensor: np.ndarray) -> np.ndarray:
    """A tensor as float16; integers and flags stay."""
    if not np.issubdtype(tensor.dtype, np.floating):
        return tensor
    limit = np.finfo(_HALF).max
    largest = np.max(np.abs(tensor), initial=0.0)
    if not largest <= limit:
        raise ValueError(
            f"Weights must be at most {limit:.0f} to be written as {_HALF}. Received: "
            f"{largest:g} in {name}. Leave `dtype` out."
        )
    return tensor.astype(_HALF)


def _as_type_of(variable: tf.Variable | None, tensor: np.ndarray) -> np.ndarray:
    if variable is None or not variable.dtype.is_floating or tensor.dtype != _HALF:
        return tensor
    return tensor.astype(variable.dtype.as_numpy_dtype)


def _describe(tensor: np.ndarray | tf.Variable) -> str:
    return f"{tf.as_dtype(tensor.dtype).name} {list(tensor.shape)}"
