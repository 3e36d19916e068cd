"""`tfp-glow train`: from the name of a data set to a run folder."""

import argparse
import dataclasses
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import keras
import tensorflow as tf

from tfp_glow import data
from tfp_glow.callbacks.training_state import read_position
from tfp_glow.cli.baselines import MAX_TRAINING_IMAGES
from tfp_glow.cli.inference import (
    check_same_shape,
    check_unchanged,
    held_out_split,
)
from tfp_glow.cli.ray_launcher import launch
from tfp_glow.cli.recipe import fit_best
from tfp_glow.cli.results import measure_baselines, write_results
from tfp_glow.cli.run_folder import (
    FORMAT_VERSION,
    STATE,
    check_writable,
    end_run,
    locked,
    model_config,
    read_unfinished,
    start_run,
    telling_what_is_left,
)
from tfp_glow.cli.strategy import (
    barrier,
    is_chief,
    make_strategy,
    sharded,
    silent_in_another_folder,
    telling_of_lost_workers,
)
from tfp_glow.data.epochs import decoded_once, num_shuffled
from tfp_glow.glow_model import GlowModel
from tfp_glow.presets import PRESETS, Preset, preset_for
from tfp_glow.version import __version__

__all__ = ["new_run", "run"]

_SOURCE_OPTIONS = ("data_dir", "image_size", "crop")
_DATA_OPTIONS = (*_SOURCE_OPTIONS, "limit", "seed", "num_noise_samples")
_TRAINING_OPTIONS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "decay",
    "clip_norm",
    "guard",
)
_RECIPE = (
    "batch_size",
    "epochs",
    "learning_rate",
    "decay",
    "warmup_steps",
    "weight_decay",
    "clip_norm",
    "guard",
    "ema_momentum",
    "max_shift",
    "flips",
)
_MODEL_OPTIONS = (
    "num_levels",
    "num_steps",
    "hidden_channels",
    "coupling",
    "permutation",
    "scale",
    "dequantization",
    "dtype",
    "memory",
    "unroll",
    "weight_y",
)


def run(arguments: argparse.Namespace) -> None:
    """Trains, measures and draws; prints a summary.

    Args:
        arguments: The options of the command.

    Raises:
        FileExistsError: If the run folder is taken.
        FileNotFoundError: If the data set is not there and cannot be downloaded, or
            there is no run to go on with.
        ValueError: If an option has a value that it cannot have, or training diverges.
    """
    if arguments.strategy == "ray":
        launch(arguments)
        return
    strategy = make_strategy(arguments.strategy)
    with ExitStack() as stack:
        if not is_chief(strategy):
            _be_a_worker(arguments, stack)
        stack.enter_context(telling_of_lost_workers(strategy))
        stack.enter_context(telling_what_is_left(arguments.resume or arguments.output))
        if arguments.resume is not None:
            _resume(arguments, stack, strategy)
        else:
            _begin(arguments, stack, strategy)


def _be_a_worker(arguments: argparse.Namespace, stack: ExitStack) -> None:
    """Makes a process that is not the chief write to a folder of its own."""
    if arguments.resume is not None:
        read_unfinished(arguments.resume)  # raises where it is not there
    folder = stack.enter_context(silent_in_another_folder(arguments.resume))
    if arguments.resume is None:
        arguments.output = folder
    else:
        arguments.resume = folder


def _begin(
    arguments: argparse.Namespace, stack: ExitStack, strategy: tf.distribute.Strategy
) -> None:
    """A new run."""
    output = arguments.output
    check_writable(output, overwrite=arguments.overwrite)
    is_new = not output.exists()  # It is made when all else is known to be right.
    if not is_new:
        stack.enter_context(locked(output))
    info, settings, model, config = new_run(arguments, strategy)
    # A worker of Ray's is one of many, but was not started by hand.
    ray = arguments.num_workers and f"ray --num-workers {arguments.num_workers}"
    config["strategy"] = ray or arguments.strategy

    def on_start() -> None:
        if is_new:
            stack.enter_context(locked(output))
            # Another training may have made it in the meantime, and come to its end.
            check_writable(output, overwrite=arguments.overwrite)
        start_run(output, config)
        barrier(strategy)

    _train(arguments, info, settings, model, on_start=on_start)


def new_run(
    arguments: argparse.Namespace, strategy: tf.distribute.Strategy
) -> tuple[data.DatasetInfo, Preset, GlowModel, dict[str, Any]]:
    """What a run begins with.

    Args:
        arguments: The options of `train`, of which those that a preset decides are
            completed.
        strategy: Whose variables the model gets.

    Returns:
        The data set, the numbers of the training, the model, and what `config.json`
        is to hold.

    Raises:
        FileNotFoundError: If the data set is not there and cannot be downloaded.
        ValueError: If an option has a value that it cannot have.
    """
    preset = preset_for(arguments.dataset, arguments.preset)
    arguments.conditional |= preset.conditional
    arguments.crop = arguments.crop or preset.crop
    settings = dataclasses.replace(preset, **_given(arguments, _TRAINING_OPTIONS))
    info = data.describe(arguments.dataset, **_source(arguments))
    if "train" not in info.num_examples:
        raise ValueError(
            f"{info.name!r} has no split `train` to train on. Received: "
            f"{', '.join(info.num_examples)}. Choose another data set."
        )
    # In a short training a long average would lag behind, and be what is kept: about a
    # tenth of it, as `tf.train.ExponentialMovingAverage` has it at the end.
    num_steps = settings.epochs * _steps_per_epoch(arguments, info, settings)
    momentum = min(settings.ema_momentum, (1 + num_steps) / (10 + num_steps))
    settings = dataclasses.replace(settings, ema_momentum=momentum)
    keras.utils.set_random_seed(arguments.seed)
    with strategy.scope():
        model = _make_model(arguments, info, preset)
    config = {
        "format_version": FORMAT_VERSION,
        "tfp_glow_version": __version__,
        "dataset": info.name,  # of a folder the whole path
        **{name: getattr(arguments, name) for name in _DATA_OPTIONS},
        "class_names": list(info.class_names) if arguments.conditional else [],
        "homepage": info.homepage,
        "licence": info.licence,
        "citation": info.citation,
        "checksums": dict(info.checksums),
        "preset": next(name for name, value in PRESETS.items() if value is preset),
        "model": model_config(model),
        "training": {
            field.name: getattr(settings, field.name)
            for field in dataclasses.fields(settings)
            if field.name in _RECIPE
        },
    }
    return info, settings, model, config


def _resume(
    arguments: argparse.Namespace, stack: ExitStack, strategy: tf.distribute.Strategy
) -> None:
    """A run that was stopped or killed, with the options that it began with."""
    output = arguments.output = arguments.resume
    config = read_unfinished(output)
    stack.enter_context(locked(output))
    if arguments.data_dir is None:
        arguments.data_dir = config["data_dir"]
    for name in ("dataset", *_DATA_OPTIONS):
        if name != "data_dir":
            setattr(arguments, name, config[name])
    arguments.conditional = config["model"].get("num_classes") is not None
    settings = dataclasses.replace(PRESETS[config["preset"]], **config["training"])
    info = data.describe(arguments.dataset, **_source(arguments))
    keras.utils.set_random_seed(arguments.seed)
    with strategy.scope():
        model = GlowModel.from_config(config["model"])
    check_same_shape(info, model)
    advice = "Put them back, or begin anew with --dataset and --output."
    for split in ("train", "validation"):
        check_unchanged(info, split, config, advice)
    epoch, batch = read_position(output / STATE)
    print(f"Going on in epoch {epoch + 1}, after {batch} steps of it.")
    _train(
        arguments,
        info,
        settings,
        model,
        on_start=lambda: barrier(strategy),  # Nobody saves before all have read.
        position=(epoch, batch),
    )


def _train(
    arguments: argparse.Namespace,
    info: data.DatasetInfo,
    settings: Preset,
    model: GlowModel,
    *,
    on_start: Callable[[], None],
    position: tuple[int, int] = (0, 0),
) -> None:
    """Trains from a position on, an epoch and a batch of it, and does all the rest."""
    for part in ("train", "validation"):  # raises where none of it can be read
        data.load_arrays(arguments.dataset, part, limit=1, **_source(arguments))
    split = held_out_split(info)
    images, labels = data.load_arrays(arguments.dataset, split, **_source(arguments))
    train, validation, steps_per_epoch = _batches(arguments, info, settings, position)
    strategy = model.distribute_strategy
    num_replicas = strategy.num_replicas_in_sync
    model.glow.choose_memory(-(-settings.batch_size // num_replicas))
    model.summary()

    try:
        fitted = fit_best(
            model,
            train,
            validation,
            settings,
            arguments.output,
            steps_per_epoch=steps_per_epoch,
            on_start=on_start,
            quiet=arguments.quiet,
            seconds_between_saves=60 * arguments.save_minutes,
        )
    finally:
        end_run(arguments.output)
    if is_chief(strategy):
        limit = min(arguments.limit or MAX_TRAINING_IMAGES, MAX_TRAINING_IMAGES)
        few, _ = data.load_arrays(
            arguments.dataset, "train", limit=limit, **_source(arguments)
        )
        baselines = measure_baselines(few, images, model.num_bits)
        write_results(arguments, info, settings, fitted, baselines, images, labels)
    barrier(strategy)  # A worker that leaves early would be taken for a lost one.


def _given(arguments: argparse.Namespace, names: tuple[str, ...]) -> dict[str, Any]:
    """The options that were typed, by their names."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _source(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where a data set is, and how its images are prepared."""
    return {name: getattr(arguments, name) for name in _SOURCE_OPTIONS}


def _make_model(
    arguments: argparse.Namespace, info: data.DatasetInfo, preset: Preset
) -> GlowModel:
    """The preset's model, fitted to the data set and changed as the options say.

    Raises:
        ValueError: If the options do not fit the data set or each other.
    """
    if preset.event_shape not in (None, tuple(info.event_shape)):
        raise ValueError(
            f"The preset is for images of {preset.event_shape} (height, width, "
            f"channels). Received: {info.name!r}, whose images are {info.event_shape}. "
            "Choose another one of `tfp-glow presets`, or leave --preset out."
        )
    options = dict(preset.model)
    num_bits = min(info.num_bits, options.pop("num_bits", info.num_bits))
    if arguments.num_bits is not None:
        num_bits = arguments.num_bits
    if num_bits > info.num_bits:
        raise ValueError(
            f"The images of {info.name!r} have {info.num_bits} bits, and a density of "
            "more would fall into the gaps between their values. Received: "
            f"--num-bits {num_bits}."
        )
    if arguments.conditional and info.num_classes is None:
        raise ValueError(
            f"{info.name!r} has no class labels. Leave --conditional and presets for "
            "classes out, or choose a data set that has them."
        )
    if arguments.weight_y is not None and not arguments.conditional:
        raise ValueError(
            "--weight-y is the weight of a classifier's loss: add --conditional. "
            f"Received: --weight-y {arguments.weight_y}."
        )
    options |= _given(arguments, _MODEL_OPTIONS)
    if arguments.conditional:
        options["num_classes"] = info.num_classes
    factor = 2 ** options["num_levels"]
    if arguments.image_size is not None and arguments.image_size % factor:
        raise ValueError(
            f"{options['num_levels']} levels need images whose side {factor} divides. "
            f"Received: --image-size {arguments.image_size}. Choose another, such as "
            f"{factor * max(1, round(arguments.image_size / factor))}, or fewer "
            "--num-levels."
        )
    return GlowModel(
        info.event_shape, num_bits=num_bits, seed=arguments.seed, **options
    )


def _num_images(arguments: argparse.Namespace, info: data.DatasetInfo) -> int:
    """How many images there are to train on."""
    there = info.num_examples["train"]
    return there if arguments.limit is None else min(there, arguments.limit)


def _steps_per_epoch(
    arguments: argparse.Namespace, info: data.DatasetInfo, settings: Preset
) -> int:
    """Full batches: another would make a noisy step, and XLA compile twice."""
    return max(1, _num_images(arguments, info) // settings.batch_size)


def _batches(
    arguments: argparse.Namespace,
    info: data.DatasetInfo,
    settings: Preset,
    position: tuple[int, int],
) -> tuple[tf.data.Dataset, tf.data.Dataset, int]:
    """Training images from a position on, validation images, and steps of an epoch.

    What comes in an epoch hangs on the seed and the number of the epoch alone.
    """
    name, batch_size, seed = arguments.dataset, settings.batch_size, arguments.seed
    options = {"with_labels": arguments.conditional, **_source(arguments)}
    num_images = _num_images(arguments, info)

    def examples_of(epoch: tf.Tensor) -> tf.data.Dataset:
        crops = data.load(name, "train", seed=epoch + seed, **options)
        return crops.take(num_images)

    def examples(split: str, num_images: int) -> tf.data.Dataset:
        first = data.load(name, split, **options).take(num_images)
        return decoded_once(first, num_images, info.event_shape)

    is_random = arguments.crop == "random"
    num_batches = _steps_per_epoch(arguments, info, settings)
    first_batch = position[0] * num_batches + position[1]
    train = data.endless_epochs(
        examples_of if is_random else examples("train", num_images),
        batch_size=batch_size,
        num_batches=num_batches,
        buffer_size=min(num_images, num_shuffled(info.event_shape)),
        seed=seed,
        first_batch=first_batch,
    )
    augmentation = {"seed": seed, "first_batch": first_batch}
    if settings.max_shift:
        train = data.random_shift(train, settings.max_shift, **augmentation)
    if settings.flips:
        train = data.random_flip(train, **augmentation)
    validation = examples("validation", info.num_examples["validation"])
    validation = validation.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    return sharded(train), sharded(validation), num_batches
