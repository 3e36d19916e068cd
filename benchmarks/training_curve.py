"""Which Glow gets how far on CIFAR-10 in an hour of two cores?

`cifar10-small` of tfp_glow, and `tfb.Glow` and normflows of the same levels, steps and
width: trained one after another for the same CPU minutes on the same images, mirrored
and with noise, by Adamax with the same rates and a moving average of the weights, and
measured meanwhile on the same held-out images.

    python benchmarks/training_curve.py --data-dir DIR --write
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Contender, has_normflows, make_parser, measure, report, table

from tfp_glow import data
from tfp_glow.presets import PRESETS

FOLDER = Path(__file__).parent
SHOWN = (1 / 6, 1 / 4, 1 / 2, 1)  # shares of the time in the table


def main() -> None:
    """Trains everybody, prints a table, and draws the curves."""
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument(
        "--cpu-minutes", type=float, default=120.0, help="of each, on all cores"
    )
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.cpu_minutes = 0.5
    preset = PRESETS[arguments.preset]
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, "images.npz")
        _write_images(images, preset.dataset, arguments.data_dir)
        common = {
            "images": str(images),
            "cpu_minutes": arguments.cpu_minutes,
            "num_points": 12,
            "batch_size": preset.batch_size,
            "learning_rate": preset.learning_rate,
            "momentum": preset.ema_momentum,
        }
        tensorflow = {**common, "preset": arguments.preset}
        contenders = {
            "tfp_glow": ("curve_tensorflow:ours", tensorflow, sys.executable),
            "tfb.Glow": ("curve_tensorflow:theirs", tensorflow, sys.executable),
        }
        if has_normflows(arguments.torch_python):
            contenders["normflows"] = (
                "curve_torch:normflows",
                {**common, "event_shape": preset.event_shape, "model": preset.model},
                arguments.torch_python,
            )
        curves = {name: Path(folder, f"{i}.json") for i, name in enumerate(contenders)}
        medians = measure(
            {
                name: Contender(build, {**given, "curve": str(curves[name])}, python)
                for name, (build, given, python) in contenders.items()
            },
            rounds=1,
            calls=0,
        )
        points = {
            name: json.loads(file.read_text()) if file.is_file() else []
            for name, file in curves.items()
        }
    rows = [
        [
            name,
            *(_at(points[name], share * arguments.cpu_minutes) for share in SHOWN),
            median["steps"],
            median["seconds_a_step"],
            median["num_parameters"],
        ]
        for name, median in medians.items()
    ]
    columns = [
        "held-out bits/dim after CPU minutes:",
        *(f"{share * arguments.cpu_minutes:g}" for share in SHOWN),
        "steps",
        "CPU s a step",
        "parameters",
    ]
    report(
        "training_curve",
        [table(columns, rows)],
        list(medians.values()),
        write=arguments.write,
        readme=FOLDER / "cifar10.md",
    )
    if arguments.write:
        _draw(points, FOLDER / "training_curve.png")


def _write_images(file: Path, dataset: str, data_dir: str | None) -> None:
    train, held_out = (
        data.load_arrays(dataset, split, data_dir=data_dir)[0]
        for split in ("train", "test")
    )
    np.savez(file, train=train, held_out=held_out)


def _at(points: list[dict], minutes: float) -> str:
    """The first point at or after some minutes."""
    for point in points:
        if point["cpu_minutes"] >= minutes:
            return f"{point['held_out']:.3f} ± {point['standard_error']:.3f}"
    return "not finite"


def _draw(points: dict[str, list[dict]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in points.items():
        axes.plot(
            [p["cpu_minutes"] for p in found],
            [p["held_out"] for p in found],
            marker=".",
            label=name,
        )
    axes.set(xlabel="CPU minutes of training", ylabel="held-out bits/dim")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=100)


if __name__ == "__main__":
    main()
