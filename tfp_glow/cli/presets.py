"""`tfp-glow presets`: what `train --preset` knows."""

import argparse

from tfp_glow.cli.report import table
from tfp_glow.presets import PRESETS, Preset

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Prints the presets, their main numbers, and what is known to come of them.

    Args:
        arguments: Not used.
    """
    del arguments
    heading = ["Preset", "Images", "Levels", "Steps", "Channels", "Batch", "Epochs"]
    rows = [[*heading, "Learning rate", "Bits/dim", "Data set", "For"]]
    for name, preset in PRESETS.items():
        numbers = (
            preset.model["num_levels"],
            preset.model["num_steps"],
            preset.model["hidden_channels"],
            preset.batch_size,
            preset.epochs,
            preset.learning_rate,
            _bits_per_dim(preset),
        )
        images = "x".join(map(str, preset.event_shape or ["any"]))
        cost = f" ({preset.cost})" if preset.cost else ""
        rows.append(
            [
                name,
                images,
                *map(str, numbers),
                preset.dataset or "any",
                preset.description + cost,
            ]
        )
    print(table(rows))
    print(
        "\nBits/dim are what the paper reports; in brackets, what its training took.\n"
        "* is what was measured here, see README, and - where neither has a figure."
    )


def _bits_per_dim(preset: Preset) -> str:
    if preset.bits_per_dim is None and preset.measured is not None:
        return f"{preset.measured}*"
    return str(preset.bits_per_dim or "-")
