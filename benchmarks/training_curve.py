"""Which Glow gets how far on CIFAR-10 in an hour of two cores?

`cifar10-small` of tfp_glow, and `tfb.Glow` and normflows of the same levels, steps and
width: trained for the same CPU minutes on the same images, mirrored and with noise, by
Adamax with the same rates and a moving average of the weights, and measured meanwhile
on the same held-out images. They take turns, a quarter of the time each.

    python benchmarks/training_curve.py --data-dir DIR --write

All is kept in a folder: stopped and started again, the script goes on from there.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from curve_loop import read_points, read_state
from harness import (
    FOLDER,
    Contender,
    has_normflows,
    machine,
    make_parser,
    measure,
    provenance,
    publish,
    table,
)

from tfp_glow import data
from tfp_glow.presets import PRESETS, Preset

NUM_POINTS = 12
TURNS = (3, 6, 9, 12)  # of these, where a turn ends
SHOWN = (2, 3, 6, 12)  # of these, in the table


def main() -> None:
    """Reads the options and prepares the images."""
    parser = make_parser(__doc__, rounds=None)
    parser.add_argument("--data-dir", metavar="DIR")
    parser.add_argument("--preset", default="cifar10-small")
    parser.add_argument(
        "--cpu-minutes", type=float, default=120.0, help="of each, on all cores"
    )
    parser.add_argument(
        "--points",
        type=int,
        choices=range(1, NUM_POINTS + 1),
        default=NUM_POINTS,
        metavar="N",
        help="after which of the 12 to stop",
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/training-curve"),
        help="of what is kept (default: %(default)s)",
    )
    parser.add_argument("--torch-python", default=sys.executable, metavar="PATH")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.quick:
            arguments.folder = Path(temporary, "quick")
            arguments.cpu_minutes, arguments.points = 0.5, 2
        _begin(arguments)
        images = Path(temporary, "images.npz")
        dataset = PRESETS[arguments.preset].dataset
        _write_images(images, dataset, arguments.data_dir)
        follow_all(arguments, make_contenders(arguments), images)


def follow_all(
    arguments: argparse.Namespace, contenders: dict[str, Contender], images: Path
) -> None:
    """Trains everybody, prints a table, and draws the curves."""
    lines = take_turns(contenders, images, arguments)
    curves = {name: read_points(c.arguments["file"]) for name, c in contenders.items()}
    minutes = [arguments.cpu_minutes * number / NUM_POINTS for number in SHOWN]
    rows = [
        [
            name,
            *(_at(curve, number) for number in SHOWN),
            curve[-1]["steps"] if curve else 0,
            60 * curve[-1]["cpu_minutes"] / curve[-1]["steps"] if curve else "",
        ]
        for name, curve in curves.items()
    ]
    columns = ["held-out bits/dim after CPU minutes:", *(f"{m:g}" for m in minutes)]
    text = "\n\n".join([table([*columns, "steps", "CPU s a step"], rows), *lines])
    publish("training_curve", text, write=arguments.write, readme=FOLDER / "cifar10.md")
    if arguments.write:
        _draw(curves, FOLDER / "training_curve.png")
        file = Path(contenders["tfp_glow"].arguments["file"])
        _draw_samples(file, PRESETS[arguments.preset], np.load(images)["held_out"])


def make_contenders(arguments: argparse.Namespace) -> dict[str, Contender]:
    """All that can be run, by their names."""
    preset, folder = PRESETS[arguments.preset], arguments.folder
    common = {
        "cpu_minutes": arguments.cpu_minutes,
        "num_points": NUM_POINTS,
        "batch_size": preset.batch_size,
        "learning_rate": preset.learning_rate,
        "momentum": preset.ema_momentum,
    }

    def contender(name: str, build: str, python: str, **model: object) -> Contender:
        file = str(folder / f"{name}.npz")
        return Contender(build, {**common, **model, "file": file}, python)

    contenders = {
        name: contender(name, build, sys.executable, preset=arguments.preset)
        for name, build in [
            ("tfp_glow", "curve_tensorflow:ours"),
            ("tfb.Glow", "curve_tensorflow:theirs"),
        ]
    }
    if has_normflows(arguments.torch_python):
        contenders["normflows"] = contender(
            "normflows",
            "curve_torch:normflows",
            arguments.torch_python,
            event_shape=preset.event_shape,
            model=preset.model,
        )
    return contenders


def take_turns(
    contenders: dict[str, Contender], images: Path, arguments: argparse.Namespace
) -> list[str]:
    """Trains all to the last point that is asked for; says on what, line by line."""
    record = arguments.folder / "measured.json"
    measured = json.loads(record.read_text()) if record.exists() else {}
    for last in sorted({min(turn, arguments.points) for turn in TURNS}):
        for name, c in contenders.items():
            if len(read_points(c.arguments["file"])) >= last:
                continue
            given = {**c.arguments, "images": str(images), "last_point": last}
            one = {name: Contender(c.build, given, c.python)}
            found = measure(one, rounds=1, calls=0)
            measured.setdefault(machine(), []).extend(found.values())
            half = record.with_suffix(".half")
            half.write_text(json.dumps(measured))
            half.replace(record)
    return [provenance(found, where) for where, found in measured.items() if found]


def _begin(arguments: argparse.Namespace) -> None:
    """Makes the folder; refuses one of another curve."""
    settings = {"preset": arguments.preset, "cpu_minutes": arguments.cpu_minutes}
    file = arguments.folder / "settings.json"
    if file.exists():
        found = json.loads(file.read_text())
        if found != settings:
            sys.exit(
                f"{arguments.folder} holds a curve of {found}, not {settings}: name "
                "another --folder, or remove it."
            )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))


def _write_images(file: Path, dataset: str, data_dir: str | None) -> None:
    train, held_out = (
        data.load_arrays(dataset, split, data_dir=data_dir)[0]
        for split in ("train", "test")
    )
    np.savez(file, train=train, held_out=held_out)


def _at(curve: list[dict], number: int) -> str:
    if len(curve) < number:
        return "not yet"
    point = curve[number - 1]
    if "held_out" not in point:
        return "not finite"
    return f"{point['held_out']:.3f} ± {point['standard_error']:.3f}"


def _draw(points: dict[str, list[dict]], file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in points.items():
        axes.plot(
            [p["cpu_minutes"] for p in found if "held_out" in p],
            [p["held_out"] for p in found if "held_out" in p],
            marker=".",
            label=name,
        )
    axes.set(xlabel="CPU minutes of training", ylabel="held-out bits/dim")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=100)


def _draw_samples(file: Path, preset: Preset, held_out: np.ndarray) -> None:
    """Of the moving average of our weights, beside held-out images."""
    import tfp_glow as tfg
    from tfp_glow.plots import sample_sheet

    model = tfg.GlowModel(preset.event_shape, seed=0, **preset.model)
    trained, state = model.distribution.trainable_variables, read_state(file)
    if not state:  # It ended in a loss that was no number.
        return
    first = len(model.distribution.variables)
    for variable, value in zip(
        trained, state[first : first + len(trained)], strict=True
    ):
        variable.assign(value)
    samples = {t: model.sample(36, t, seed=0).numpy() for t in (0.7, 1.0)}
    sample_sheet(held_out[:36], samples).savefig(FOLDER / "cifar10_samples.png")


if __name__ == "__main__":
    main()
