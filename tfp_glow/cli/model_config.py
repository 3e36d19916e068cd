"""The arguments of a run's model, as `config.json` has them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfp_glow.glow_model import GlowModel

__all__ = ["check_belongs", "model_config"]

_ANY = {"dtype", "memory", "name", "unroll", "validate_args"}  # The weights fit any.


def model_config(model: GlowModel) -> dict[str, Any]:
    """All arguments of a model, those too that were left at their defaults."""
    config = model.get_config()
    plain = bool | float | int | str | None
    defaults = {
        name: value
        for name, value in model.glow.parameters.items()
        if isinstance(value, plain)
    }
    return {**defaults, **config}


def check_belongs(model: GlowModel, run: Path, config: Mapping[str, Any]) -> None:
    """Raises `ValueError` unless a model is the one that a run was made with.

    What another version had no argument for is not compared.

    Args:
        model: The model in the run folder.
        run: The run folder.
        config: What `config.json` in it holds.
    """
    found = json.loads(json.dumps(model_config(model)))  # with lists for tuples
    for name, recorded in config.get("model", {}).items():
        if name in found.keys() - _ANY and found[name] != recorded:
            raise ValueError(
                f"{run / 'model.keras'} is not the model that {run / 'config.json'} "
                "tells of: one of them is of another run, or was changed. Put the "
                "right one back. Received: "
                f"{name}={found[name]!r}; in config.json it is {recorded!r}."
            )
