"""`tfp-glow presets`: what `train --preset` knows."""

import argparse

from tfp_glow.cli.report import table
from tfp_glow.presets import PRESETS

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Prints the presets and their main numbers.

    Args:
        arguments: Not used.
    """
    del arguments
    rows = [
        (
            "Preset",
            "Levels",
            "Steps",
            "Channels",
            "Batch",
            "Epochs",
            "Learning rate",
            "For",
        )
    ]
    for name, preset in PRESETS.items():
        numbers = (
            preset.model["num_levels"],
            preset.model["num_steps"],
            preset.model["hidden_channels"],
            preset.batch_size,
            preset.epochs,
            preset.learning_rate,
        )
        rows.append((name, *map(str, numbers), preset.description))
    print(table(rows))
