"""A model's levels, shapes and parameters as a table."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["count", "summary_table"]


def summary_table(model: "GlowModel") -> str:
    """What each level turns an image into, and how many parameters it has.

    Args:
        model: A `GlowModel`.

    Returns:
        Several lines of text.
    """
    chain = model.glow.chain
    rows = [("Level", "Output", "To latent", "Steps", "Parameters")]
    for i, (level, shape) in enumerate(
        zip(chain.levels, chain.level_shapes, strict=True)
    ):
        last = i == len(chain.levels) - 1
        height, width, channels = shape
        prior = chain.top_prior if last else chain.split_priors[i]
        rows.append(
            (
                level.name,
                _shape(shape),
                _shape(shape if last else (height, width, channels // 2)),
                str(level.num_steps),
                f"{count([level, prior]):,}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    trainable = model.trainable_variables
    total = sum(variable.shape.num_elements() for variable in trainable)
    num_classes = model.glow.num_classes
    classes = f"{num_classes} classes" if num_classes else "no classes"
    return "\n".join(
        [
            f"{model.name}: images {_shape(model.event_shape)}, {model.num_bits} bits, "
            f"{classes}",
            "",
            *(line.rstrip() for line in lines),
            "",
            f"Trainable parameters: {total:,} in {len(trainable)} variables",
            f"Precision: {model.dtype_policy.name}. Memory: {model.glow.memory}",
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def count(modules: Iterable[tf.Module | None]) -> int:
    """Parameters of several modules, also where a model has them frozen."""
    variables = [v for m in modules if m is not None for v in m.trainable_variables]
    return sum(variable.shape.num_elements() for variable in variables)
