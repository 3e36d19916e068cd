"""`python BUNDLE/run.py DATA`: trains what a bundle holds, with JAX alone."""

import argparse
import csv
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .images import load_images, steps_per_epoch
from .pieces import FORMAT_VERSION, read, write, write_json

__all__ = ["main"]

_STATE, _WEIGHTS, _RESULT, _HISTORY = "state", "weights", "result.json", "history.csv"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line. It needs no JAX."""
    parser = argparse.ArgumentParser(
        prog="python BUNDLE/run.py",
        description="Trains the model of this bundle on a device that JAX knows.",
        allow_abbrev=False,
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="folder of all pieces")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="(default: BUNDLE/result)"
    )
    parser.add_argument(
        "--minutes",
        type=_positive,
        default=9.0,
        metavar="X",
        help="train until so long after the start, what compiling takes included; the "
        "last evaluation and saving come on top (default: %(default)g)",
    )
    parser.add_argument(
        "--max-steps", type=_count, metavar="N", help="or until step N or just after"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the state in --output"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the training in --output"
    )
    parser.add_argument(
        "--evaluate-minutes",
        type=_positive,
        default=1.0,
        metavar="X",
        help="measure bits/dim on the held-out images so often (default: %(default)g)",
    )
    parser.add_argument(
        "--save-minutes",
        type=_positive,
        default=4.0,
        metavar="X",
        help="save the state so often (default: %(default)g)",
    )
    parser.add_argument(
        "--num-noise-samples",
        type=_count,
        default=1,
        metavar="K",
        help="at the end measure with so many draws of noise too (default: 1)",
    )
    parser.add_argument(
        "--state",
        choices=["float32", "bfloat16", "none"],
        default="float32",
        help="bfloat16: kernels, their averages and Adamax's are rounded in the saved "
        "state, which halves it; with float32 --resume is exact (default: float32)",
    )
    parser.add_argument(
        "--weights",
        choices=["bfloat16", "float32"],
        default="bfloat16",
        help="of the kernels that are brought back; what is measured at the end is "
        "measured with them (default: %(default)s)",
    )
    recipe = parser.add_argument_group("training, instead of the bundle's")
    recipe.add_argument("--learning-rate", type=_positive, metavar="X")
    recipe.add_argument("--warmup-steps", type=int, metavar="N")
    recipe.add_argument("--decay", choices=["cosine", "constant"])
    recipe.add_argument(
        "--total-steps",
        type=_count,
        metavar="N",
        help="at which the cosine ends (default: those of the bundle's epochs)",
    )
    return parser


def main(arguments: Sequence[str] | None = None, bundle: Path | None = None) -> int:
    """Trains, and returns the exit status: 1 after an error, told in one message.

    Args:
        arguments: What was typed; taken from the process when not given.
        bundle: The bundle.
    """
    options = make_parser().parse_args(arguments)
    try:
        _run(options, bundle)
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace, bundle: Path) -> None:
    started = time.monotonic()
    manifest = _read_manifest(bundle)
    output = options.output or bundle / "result"
    saved = None
    if options.resume:
        saved = read(output / _STATE)
        _check_bundle(saved[1], manifest, output)
    elif not options.overwrite and any(
        (output / name).exists() for name in (_STATE, _RESULT)
    ):
        raise FileExistsError(
            f"{output} holds a training. Go on with it, --resume; replace it, "
            "--overwrite; or name another folder, --output."
        )
    train, held_out, about = load_images(options.data, manifest["image_shape"])
    dataset = manifest["config"]["dataset"]
    if about["dataset"] != dataset:
        raise ValueError(
            f"The bundle was exported for {dataset!r}. Received: images of "
            f"{about['dataset']!r} in {options.data}. Export for them: --dataset."
        )
    _prepare_jax(bundle)
    _Run(options, bundle, output, manifest, train, held_out, about, started).go(saved)


def _read_manifest(bundle: Path) -> dict[str, Any]:
    file = bundle / "manifest.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{bundle} is no bundle: it has no manifest.json. "
            "`python -m tfp_glow.accelerate export PRESET BUNDLE` writes one."
        )
    manifest = json.loads(file.read_text(encoding="utf-8"))
    if manifest.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"This program runs bundles of format {FORMAT_VERSION}. Received: "
            f"format_version={manifest.get('format_version')} in {file}. Export again."
        )
    return manifest


def _check_bundle(
    about: Mapping[str, Any], manifest: Mapping[str, Any], output: Path
) -> None:
    if about["bundle"] != manifest["bundle"]:
        raise ValueError(
            f"What is in {output} was left by another bundle: {about['bundle'][:12]}, "
            f"and this is {manifest['bundle'][:12]}. Name its folder with --output."
        )


def _prepare_jax(bundle: Path) -> None:
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.9")
    import jax

    jax.config.update("jax_compilation_cache_dir", str(bundle / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def _clear(output: Path) -> None:
    for name in (_STATE, _WEIGHTS):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in (_RESULT, _HISTORY):
        (output / name).unlink(missing_ok=True)


class _Run:
    """One process of a training, which may have more."""

    def __init__(
        self,
        options: argparse.Namespace,
        bundle: Path,
        output: Path,
        manifest: Mapping[str, Any],
        train: Any,
        held_out: Any,
        about: Mapping[str, Any],
        started: float,
    ) -> None:
        from .training import Training

        self.options, self.output, self.manifest = options, output, manifest
        self.held_out, self.about, self.started = held_out, about, started
        names = ("learning_rate", "warmup_steps", "decay")
        given = {n: v for n in names if (v := getattr(options, n)) is not None}
        self.recipe = {**manifest["recipe"], **given}
        self.batch_size = self.recipe["batch_size"]
        self.steps_per_epoch = steps_per_epoch(len(train), self.batch_size)
        epochs = self.recipe["epochs"] * self.steps_per_epoch
        self.total_steps = options.total_steps or epochs
        self.training = Training(bundle, manifest, train)
        self.num_train_images = len(train)
        self.rows: list[dict[str, float]] = []
        self.seconds_before = 0.0
        self.recent: list[Any] = []
        self.stepping = 0.0  # seconds of the steps since the last row

    def go(self, saved: tuple | None) -> None:
        """Trains until the time is up, measures, saves, and tells of it."""
        import jax

        print(f"On {jax.devices()[0].device_kind}, JAX {jax.__version__}.", flush=True)
        self.training.compile()
        seconds = max(self.training.compile_seconds.values())
        print(f"Compiled in {seconds:.0f} s.", flush=True)
        if saved is None:
            _clear(self.output)  # now that all is known to work
            self.training.initialize()
        else:
            arrays, about = saved
            self.training.restore(about["step"], arrays)
            self.rows, self.seconds_before = about["rows"], about["seconds"]
            print(f"Going on after {about['step']} steps.", flush=True)
        self.output.mkdir(parents=True, exist_ok=True)
        evaluated = saved_at = time.monotonic()
        while not self._is_over():
            self._take_steps()
            now = time.monotonic()
            if now - evaluated > 60 * self.options.evaluate_minutes:
                self._add_row()
                evaluated = time.monotonic()
            if now - saved_at > 60 * self.options.save_minutes:
                self._save()
                saved_at = time.monotonic()
        if self.recent:
            self._add_row()
        self._save()
        self._finish()

    def _is_over(self) -> bool:
        most = self.options.max_steps
        is_late = time.monotonic() - self.started > 60 * self.options.minutes
        return is_late or (most is not None and self.training.step >= most)

    def _take_steps(self) -> None:
        import numpy as np

        from .training import learning_rate

        first = self.training.step
        rates = [
            learning_rate(first + i, self.recipe, self.total_steps)
            for i in range(self.manifest["steps_a_call"])
        ]
        began = time.monotonic()
        rows = self.training.take_steps(rates)
        self.stepping += time.monotonic() - began
        if not np.isfinite(rows).all():
            step = first + int(np.argmin(np.isfinite(rows).all(axis=1)))
            raise ValueError(
                f"Training diverged: in step {step} bits/dim or the gradient were no "
                "finite number. What was saved before is intact: go on from it with "
                "--resume and a lower --learning-rate."
            )
        self.recent.append(rows)

    def _add_row(self) -> None:
        """Measures, and adds a line to the history."""
        import numpy as np

        rows = np.concatenate(self.recent)
        step = self.training.step
        rate = len(rows) * self.batch_size / max(self.stepping, 1e-9)
        averaged, raw = (
            self.training.bits_per_dim(
                self.held_out, self.training.weights(averaged=choice)
            ).mean()
            for choice in (True, False)
        )
        from .training import learning_rate

        row = {
            "epoch": round(step / self.steps_per_epoch, 3),
            "step": step,
            "seconds": round(self._seconds(), 1),
            "loss": float(rows[:, 0].mean()),
            "bits_per_dim": float(rows[:, 0].mean()),
            "gradient_norm": float(rows[:, 1].mean()),
            "val_bits_per_dim": float(averaged),
            "val_bits_per_dim_raw": float(raw),
            "learning_rate": learning_rate(step, self.recipe, self.total_steps),
            "images_per_second": round(rate, 1),
        }
        self.rows.append(row)
        self.recent, self.stepping = [], 0.0
        partial = self.output / f".partial-{_HISTORY}"
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(partial, self.output / _HISTORY)
        print(
            f"Step {step}: {row['bits_per_dim']:.4f} bits/dim, held out "
            f"{averaged:.4f} (not averaged {raw:.4f}), {rate:,.0f} images/s",
            flush=True,
        )

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _save(self) -> None:
        if self.options.state == "none":
            return
        about = {
            "bundle": self.manifest["bundle"],
            "step": self.training.step,
            "seconds": self._seconds(),
            "rows": self.rows,
        }
        write(
            self.output / _STATE,
            self.training.state(),
            about,
            rounded=self.training.kernels if self.options.state == "bfloat16" else (),
        )

    def _finish(self) -> None:
        """Writes the weights, and measures them as they are written."""
        import jax

        training, options = self.training, self.options
        about = {"bundle": self.manifest["bundle"], "step": training.step}
        write(
            self.output / _WEIGHTS,
            jax.device_get(training.weights(averaged=True)),
            about,
            rounded=training.kernels if options.weights == "bfloat16" else (),
        )
        weights, _ = read(self.output / _WEIGHTS)
        measured = {}
        for draws in sorted({1, options.num_noise_samples}):
            bits = training.bits_per_dim(self.held_out, weights, draws)
            error = bits.std(ddof=1) / math.sqrt(len(bits)) if len(bits) > 1 else None
            measured[draws] = {
                "split": self.about["held_out"]["split"],
                "bits_per_dim": float(bits.mean()),
                "standard_error": None if error is None else float(error),
                "num_images": len(bits),
                "num_noise_samples": draws,
                "seed": 0,
            }
        device = jax.devices()[0]
        result = {
            "bundle": self.manifest["bundle"],
            "dataset": self.about["dataset"],
            "note": self.about["note"],
            "step": training.step,
            "epochs": training.step / self.steps_per_epoch,
            "num_train_images": self.num_train_images,
            "recipe": {**self.recipe, "total_steps": self.total_steps},
            "seconds": round(self._seconds(), 1),
            "compile_seconds": training.compile_seconds,
            "held_out": measured[1],
            "bound": measured[max(measured)],
            "weights": options.weights,
            "device": device.device_kind,
            "peak_bytes": (device.memory_stats() or {}).get("peak_bytes_in_use"),
            "jax": jax.__version__,
        }
        write_json(self.output / _RESULT, result)
        print(
            f"{result['held_out']['bits_per_dim']:.4f} bits/dim on "
            f"{len(self.held_out):,} held-out images after {training.step} steps, "
            f"{result['seconds']:.0f} s in all. Next, where TensorFlow is:\n"
            "  python -m tfp_glow.accelerate import BUNDLE RUN --result "
            f"{self.output}"
        )


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)
