"""`tfp-glow check`: whether a run can be inverted, part by part."""

import argparse
import json
import sys
from math import isfinite

from tfp_glow.cli.inference import load_held_out
from tfp_glow.cli.report import table
from tfp_glow.cli.run_folder import load_run
from tfp_glow.invertibility import (
    InvertibilityReport,
    PartReport,
    check_invertibility,
)

__all__ = ["run"]

_COLUMNS = {
    "coupling_log_scale": "coupling",
    "act_norm_log_scale": "act-norm",
    "log_diag": "LU diag",
    "condition_number": "cond W",
    "data_error": "data error",
    "sample_error": "sample error",
    "sample_value": "sample value",
}
_LEGEND = """\
coupling, act-norm, LU diag: largest |log scale|. data error: largest difference in
front of the part after images were encoded and decoded; sample error: behind it, after
latents were decoded and encoded. sample value: largest |value| on a sample's way
to an image; in an image what is beyond 0.5 is clipped. The first part's data error is
the image's."""


def run(arguments: argparse.Namespace) -> int:
    """Checks a run and prints what was found.

    Args:
        arguments: The options of the command.

    Returns:
        The exit status: 1 where the run is not invertible, or has black samples.

    Raises:
        FileNotFoundError: If there is no run, or its data set is gone.
        ValueError: If there is no such split, or the run is damaged.
    """
    trained = load_run(arguments.run_folder)
    model = trained.model
    held_out = load_held_out(trained, arguments)
    labels = None if model.glow.num_classes is None else held_out.labels
    report, exact = (
        check_invertibility(
            checked,
            held_out.images,
            labels,
            num_samples=arguments.num_samples,
            seed=arguments.seed,
        )
        for checked in (model, model.with_dtype("float64"))
    )
    if arguments.json:
        reports = {"report": report.as_dict(), "float64": exact.as_dict()}
        source = {"dataset": held_out.dataset, "split": held_out.split}
        print(json.dumps(source | reports, indent=2, allow_nan=False))
    else:
        print(f"{_table_of_parts(report)}\n\n{_LEGEND}\n")
        print(f"{len(held_out.images)} {held_out.split} images of {held_out.dataset}.")
        for found in (report, exact):
            print(_line(found))
    if not report.is_sound and sys.stdout.isatty():
        print("`tfp-glow train --scale bounded` keeps the scales near 1.")
    return 0 if report.is_sound else 1


def _table_of_parts(report: InvertibilityReport) -> str:
    return table(
        [
            (report.dtype, *_COLUMNS.values()),
            *((part.name, *_cells(part)) for part in report.parts),
        ]
    )


def _cells(part: PartReport) -> list[str]:
    values = [getattr(part, name) for name in _COLUMNS]
    return ["" if value is None else f"{value:.3g}" for value in values]


def _line(report: InvertibilityReport) -> str:
    value = report.largest_value
    value = f"up to {value:.3g}" if isfinite(value) else "infinite"
    return (
        f"{report.dtype}: errors of {report.data_error:.1e} on images and "
        f"{report.sample_error:.1e} on latents; samples {value}. {report}"
    )
