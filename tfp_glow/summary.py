"""A model's levels, shapes and parameters as a table."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfp_glow.glow_model import GlowModel

__all__ = ["summary_table"]


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
                f"{_count([level, prior] if prior else [level]):,}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    besides = filter(None, [model.dequantizer, model.classifier])
    total = _count([model.distribution, *besides])
    num_classes = model.glow.num_classes
    classes = f"{num_classes} classes" if num_classes else "no classes"
    return "\n".join(
        [
            f"{model.name}: images {_shape(model.event_shape)}, {model.num_bits} bits, "
            f"{classes}",
            "",
            *(line.rstrip() for line in lines),
            "",
            f"Trainable parameters: {total:,} in {len(model.trainable_variables)} "
            "variables",
            f"Precision: {model.dtype_policy.name}. Memory: {model.glow.memory}",
        ]
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _count(modules: list) -> int:
    """Trainable numbers in several modules."""
    return sum(v.shape.num_elements() for m in modules for v in m.trainable_variables)
