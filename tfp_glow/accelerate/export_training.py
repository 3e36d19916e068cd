"""`python -m tfp_glow.accelerate export`: a training as programs of StableHLO."""

import argparse
import hashlib
import json
import shutil
from pathlib import Path
from shlex import quote
from typing import Any

import tensorflow as tf

from tfp_glow.accelerate import on_card
from tfp_glow.accelerate.on_card.pieces import FORMAT_VERSION, write_json
from tfp_glow.accelerate.stablehlo import SEED, export_program, make_initializer
from tfp_glow.adamax import Adamax
from tfp_glow.bijectors.initialize import initialize_bijector
from tfp_glow.cli.inference import BATCH_SIZE
from tfp_glow.cli.train import new_run
from tfp_glow.dequantization import as_seed
from tfp_glow.glow_model import GlowModel
from tfp_glow.presets import Preset, preset_for
from tfp_glow.version import __version__

__all__ = ["Steps", "run", "write_bundle"]

_MANIFEST = "manifest.json"

_PROGRAM = '''\
"""Trains the model of this bundle: python run.py DATA --minutes 9."""

import sys
from pathlib import Path

from on_card.run import main

sys.exit(main(bundle=Path(__file__).resolve().parent))
'''


def run(arguments: argparse.Namespace) -> None:
    """Writes a bundle, and says how large it is and what to do with it.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If there is something already.
        NotImplementedError: If the model cannot leave.
        ValueError: If an option has a value that it cannot have.
    """
    preset = preset_for("", arguments.preset)
    arguments.dataset = arguments.dataset or preset.dataset
    if not arguments.dataset:
        raise ValueError(
            f"The preset {arguments.preset!r} is for any data set. Name one: --dataset."
        )
    if preset.conditional:
        raise NotImplementedError(
            "Only a model without classes can leave. Received: the preset "
            f"{arguments.preset!r}."
        )
    folder = arguments.bundle
    if folder.exists() and any(folder.iterdir()):
        if not arguments.overwrite or not _is_bundle(folder):
            raise FileExistsError(
                f"{folder} is not empty. Name another folder, or replace the bundle in "
                "it with --overwrite; anything else has to be removed by hand."
            )
    if preset.crop == "random":
        print(
            "Note: squares are cut out of the middle of pictures. The preset "
            f"{arguments.preset!r} cuts them out at random."
        )
    _, settings, model, config = new_run(arguments, tf.distribute.get_strategy())
    if settings.max_shift:
        raise NotImplementedError(
            "Of augmentation only mirroring can leave. Received: the preset "
            f"{arguments.preset!r}, which moves images by up to {settings.max_shift}."
        )
    resolved = folder.resolve()
    partial_folder = resolved.with_name(f".partial-{resolved.name}")
    shutil.rmtree(partial_folder, ignore_errors=True)
    try:
        write_bundle(
            partial_folder, model, settings, config, steps_a_call=arguments.steps_a_call
        )
        size = sum(f.stat().st_size for f in partial_folder.rglob("*") if f.is_file())
        _move(partial_folder, resolved)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)
    images = quote(arguments.dataset)
    for name in ("data_dir", "image_size"):
        if value := getattr(arguments, name):
            images += f" --{name.replace('_', '-')} {quote(str(value))}"
    print(
        f"{folder}: {size / 1e6:.1f} MB. Next:\n"
        f"  python -m tfp_glow.accelerate data {images} DATA\n"
        f"  python {quote(str(folder / 'run.py'))} DATA --minutes 9     where JAX sees "
        "the device"
    )


def _is_bundle(folder: Path) -> bool:
    try:
        return "bundle" in json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, TypeError, ValueError):
        return False


def _move(new: Path, folder: Path) -> None:
    """Puts the parts of a bundle in the place of those of an earlier one.

    What else is there, such as the result of a training, stays. The manifest comes
    last: without one there is no bundle.
    """
    folder.mkdir(exist_ok=True)
    (folder / _MANIFEST).unlink(missing_ok=True)
    for part in sorted(new.iterdir(), key=lambda part: part.name == _MANIFEST):
        if part.is_dir():
            shutil.rmtree(folder / part.name, ignore_errors=True)
        part.replace(folder / part.name)
    new.rmdir()


class Steps:
    """What a device does with a model: start, train, evaluate."""

    def __init__(self, model: GlowModel, settings: Preset) -> None:
        """Compiles the model with the optimizer of `tfp-glow train`.

        Args:
            model: The model.
            settings: Numbers of the training.
        """
        self.model = model
        self.optimizer = Adamax(
            settings.learning_rate,  # an argument of the program decides
            weight_decay=settings.weight_decay or None,
            use_ema=True,
            ema_momentum=settings.ema_momentum,
        )
        model.compile(self.optimizer, clip_norm=settings.clip_norm)
        self.optimizer.build(model.trainable_variables)
        self.weights = [variable.value for variable in model.weights]
        self.make_initial = make_initializer(self.weights)

    @property
    def variables(self) -> list[tf.Variable]:
        """All that the programs may use."""
        metrics = (v.value for m in self.model.metrics for v in m.variables)
        return [
            *self.weights,
            *(variable.value for variable in self.optimizer.variables),
            *metrics,
        ]

    @property
    def averages(self) -> dict[str, str]:
        """Names of the moving averages by those of the weights."""
        averages = self.optimizer._model_variables_moving_average
        pairs = zip(self.model.trainable_variables, averages, strict=True)
        return {weight.value.name: average.value.name for weight, average in pairs}

    def initial(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Assigns weights whose act-norms standardise a batch, as `fit` does."""
        for variable, value in zip(self.weights, self.make_initial(seed), strict=True):
            variable.assign(value)
        x, _ = self.model._dequantize(images, as_seed(self.model._seed))
        return tf.reduce_mean(initialize_bijector(self.model.glow, x, only_new=False))

    def train(self, images: tf.Tensor, learning_rates: tf.Tensor) -> tf.Tensor:
        """Takes steps of `GlowModel.train_step`, as one loop on the device.

        Args:
            images: `uint8` `[S, B, H, W, C]`.
            learning_rates: `[S]`.

        Returns:
            Bits/dim and norm of the gradient of each step, float32 `[S, 2]`.
        """
        num_steps = images.shape[0]

        def body(i: tf.Tensor, rows: tf.TensorArray) -> tuple:
            self.optimizer.learning_rate.assign(learning_rates[i])
            for metric in self.model.metrics:
                metric.reset_state()
            logs = self.model.train_step((tf.gather(images, i),))
            row = tf.stack([logs["bits_per_dim"], logs["gradient_norm"]])
            return i + 1, rows.write(i, tf.cast(row, tf.float32))

        rows = tf.TensorArray(tf.float32, num_steps, element_shape=[2])
        _, rows = tf.while_loop(
            lambda i, _: i < num_steps,
            body,
            (tf.constant(0), rows),
            maximum_iterations=num_steps,
        )
        return rows.stack()

    def evaluate(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Bits/dim of images, one draw of noise each, `[B]`."""
        return self.model.bits_per_dim(images, seed=seed)


def write_bundle(
    folder: Path,
    model: GlowModel,
    settings: Preset,
    config: dict[str, Any],
    *,
    steps_a_call: int,
) -> None:
    """Writes programs, manifest, and what runs them.

    Args:
        folder: Where to.
        model: The model, whose weights do not matter.
        settings: Numbers of the training.
        config: The `config.json` of the run to be.
        steps_a_call: Steps in one call to the device.

    Raises:
        NotImplementedError: If the model computes what StableHLO does not have.
    """
    # In mixed precision what is not bfloat16 is little, and may be TF32.
    is_mixed = model.dtype_policy.name == "mixed_bfloat16"
    tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(is_mixed)
    steps = Steps(model, settings)
    batch = tf.zeros([settings.batch_size, *model.event_shape], tf.uint8)
    batches = tf.zeros([steps_a_call, *batch.shape], tf.uint8)
    measured = tf.zeros([BATCH_SIZE, *model.event_shape], tf.uint8)
    programs = {
        "initial": (steps.initial, {"images": batch, "seed": SEED}),
        "train": (
            steps.train,
            {"images": batches, "learning_rates": tf.zeros([steps_a_call])},
        ),
        "evaluate": (
            steps.evaluate,
            {"images": measured, "seed": tf.zeros([2], "int32")},
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    try:
        described = {
            name: export_program(
                folder / f"{name}.stablehlo", function, arguments, steps.variables
            )
            for name, (function, arguments) in programs.items()
        }
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(tf32)
    used = {
        v["variable"]: {
            "shape": v["shape"],
            "dtype": v["dtype"],
            "is_kernel": "kernel" in v["variable"] and v["dtype"] == "float32",
        }
        for program in described.values()
        for v in program["inputs"]
        if "variable" in v
    }
    digest = hashlib.sha256()
    for program in described.values():
        digest.update((folder / program["file"]).read_bytes())
    manifest = {
        "format_version": FORMAT_VERSION,
        "tfp_glow_version": __version__,
        "bundle": digest.hexdigest(),
        "image_shape": list(model.event_shape),
        "steps_a_call": steps_a_call,
        "evaluation_batch": BATCH_SIZE,
        "seed": model._seed,
        "recipe": config["training"],
        "programs": described,
        "variables": used,
        "weights": [variable.name for variable in steps.weights],
        "averages": steps.averages,
        "config": config,
    }
    write_json(folder / _MANIFEST, manifest)
    (folder / "run.py").write_text(_PROGRAM, encoding="utf-8")
    (folder / "on_card").mkdir(exist_ok=True)
    for file in Path(on_card.__file__).parent.glob("*.py"):
        shutil.copyfile(file, folder / "on_card" / file.name)
