"""What the commands print: tables, files and what to type next."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

__all__ = ["measured", "next_commands", "run_report", "table"]

_FILES = {
    "model.keras": "the best epoch, for keras.models.load_model after import tfp_glow",
    "metrics.json": "the figures above, and versions",
    "config.json": "the model's and the training's arguments",
    "samples.png": "samples beside real images",
    "training.png": "bits/dim of each epoch; in history.csv too, from epoch 0",
    "logs": "for TensorBoard",
}
_BASELINES = {
    "gaussian": "Gaussian, full covariance",
    "histogram": "Histogram of each pixel",
}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Lines of columns; the first row is a heading, and underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(line.rstrip() for line in lines)


def measured(figures: Mapping[str, Any]) -> str:
    """Bits/dim with its standard error, to as many digits as that leaves."""
    error = figures["standard_error"]
    spread = "" if error is None else f" ± {error:.4f}"
    return f"{figures['bits_per_dim']:.4f}{spread}"


def run_report(
    folder: Path, metrics: Mapping[str, Any], num_epochs: int, num_classes: int | None
) -> str:
    """The end of a training: figures beside baselines, files, next commands.

    Args:
        folder: The run folder.
        metrics: What `metrics.json` holds.
        num_epochs: How many epochs there should have been.
        num_classes: Number of the model's classes, if any.

    Returns:
        Several lines of text.
    """
    held_out = metrics["held_out"]
    draws = held_out["num_noise_samples"]
    rows = [(f"Bits/dim on {held_out['split']}, lower is better", "", "")]
    rows.append(
        ("Glow", measured(held_out), f"{draws} draw{'s' * (draws > 1)} of noise")
    )
    for name, title in _BASELINES.items():
        baseline = metrics["baselines"][name]
        bits = baseline["bits_per_dim"]
        rows.append((title, "" if bits is None else f"{bits:.4f}", baseline["note"]))
    lines = [
        table(rows),
        "",
        f"{metrics['dataset']}: {held_out['num_images']:,} {held_out['split']} images. "
        f"{metrics['trainable_parameters']:,} parameters, trained in "
        f"{metrics['training_seconds']:,.0f} s.",
        f"Best epoch {metrics['best_epoch']} of {metrics['num_epochs']}, "
        f"{metrics['validation_bits_per_dim']:.4f} bits/dim on validation.",
    ]
    if metrics["note"]:
        lines.append(f"Note: {metrics['note']}.")
    if held_out["split"] == "validation":
        lines.append(
            "Note: there is no test split, and the same images chose the best epoch."
        )
    if metrics["num_rollbacks"]:
        lines.append(
            f"Note: training went wrong {metrics['num_rollbacks']} times, and went on "
            "from earlier weights at a lower rate. A lower --learning-rate may help."
        )
    if metrics["num_epochs"] < num_epochs:
        lines.append(
            "Note: training diverged and was stopped. A lower --learning-rate may help."
        )
    width = max(map(len, _FILES))
    return "\n".join(
        [
            *lines,
            "",
            f"Files in {folder}:",
            *(f"  {name.ljust(width)}  {text}" for name, text in _FILES.items()),
            "",
            next_commands(folder, num_classes),
        ]
    )


def next_commands(
    folder: Path, num_classes: int | None, *, names_dataset: bool = True
) -> str:
    """What can be typed when there is a run.

    Args:
        folder: The run folder.
        num_classes: Number of the model's classes, if any.
        names_dataset: Whether the run says which data set it is measured on.
    """
    run = quote(str(folder))
    label = "" if num_classes is None else " --label 0"
    dataset = "" if names_dataset else " --dataset NAME"
    return "\n".join(
        [
            "Next:",
            f"  tfp-glow sample {run}{label}",
            f"  tfp-glow evaluate {run}{dataset}",
            f"  tfp-glow check {run}{dataset}",
            f"  tfp-glow demo {run}{dataset}",
            f"  tfp-glow export {run} DIR",
        ]
    )
