"""`tfp-glow presets`: what `train --preset` knows."""

import argparse

from tfp_glow.cli.report import table
from tfp_glow.presets import PRESETS

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> None:
    """Prints the presets, their main numbers, and what the paper reports of them.

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
            "Bits/dim",
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
        bits = "" if preset.bits_per_dim is None else f"{preset.bits_per_dim:.2f}"
        cost = f" ({preset.cost})" if preset.cost else ""
        rows.append((name, *map(str, numbers), bits or "-", preset.description + cost))
    print(table(rows))
    print("\nBits/dim are what the paper reports; in brackets, what its training took.")
