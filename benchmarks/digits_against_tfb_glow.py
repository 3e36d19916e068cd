"""Does tfp_glow reach a lower test bits/dim on the digits than `tfb.Glow` does?

Both train on the same images, in the same batches with the same noise, for the same
seconds, which are counted after the first step so that nobody pays for tracing. Both
get the quickstart's recipe: Adamax with weight decay, a warm-up, a cosine decay over
those seconds, images shifted at random, a moving average of the weights, and the best
epoch by validation bits/dim. `tfb.Glow` gets a choice of learning rates, of which
the best by validation counts, and its exit scale corrected: it starts at e^2 as TFP
ships it, and at 1 here.

    python benchmarks/digits_against_tfb_glow.py --seconds 60
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import prod

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg
from tfp_glow.presets import PRESETS

tfb = tfp.bijectors
tfd = tfp.distributions

PRESET = PRESETS["digits"]


def ours() -> tfd.Distribution:
    """The quickstart's model."""
    return tfg.GlowModel((8, 8, 1), num_bits=4, seed=0, **PRESET.model).distribution


class ExitNetwork(tfb.GlowDefaultExitNetwork):
    """TFP's, with a bias that takes back the 2 that `tfb.Glow` adds to log-scales."""

    def __init__(self, input_shape: tuple[int, ...], output_chan: int) -> None:
        """Builds the network of TFP, then sets the bias of the log-scales to -2."""
        super().__init__(input_shape, output_chan)
        kernel, bias = self.weights
        del kernel
        bias.assign(
            tf.concat([tf.zeros([output_chan]), tf.fill([output_chan], -2.0)], 0)
        )


def tfb_glow(
    event_shape: tuple[int, int, int], model: dict[str, int]
) -> tfd.Distribution:
    """`tfb.Glow` of a model's levels, steps and width, whose exits start at 1."""
    bijector = tfb.Glow(
        output_shape=event_shape,
        num_glow_blocks=model["num_levels"],
        num_steps_per_block=model["num_steps"],
        coupling_bijector_fn=partial(
            tfb.GlowDefaultNetwork, num_hidden=model["hidden_channels"]
        ),
        exit_bijector_fn=ExitNetwork,
        seed=0,
    )
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [prod(event_shape)])
    return tfd.TransformedDistribution(base, bijector)


def theirs() -> tfd.Distribution:
    """`tfb.Glow` of the same levels, steps and width."""
    return tfb_glow((8, 8, 1), PRESET.model)


def batches(images: np.ndarray) -> Iterator[tf.Tensor]:
    """One epoch after another, in an order that is the same for everybody."""
    dataset = tf.data.Dataset.from_tensor_slices(images)
    dataset = dataset.shuffle(len(images), seed=0).repeat()
    dataset = dataset.batch(PRESET.batch_size)
    yield from tfg.data.random_shift(dataset, PRESET.max_shift).prefetch(2)


def evaluate(
    log_prob: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray
) -> np.ndarray:
    """Bits/dim of each image, a mean over five draws of noise."""
    bits = [
        tfg.bits_per_dim(log_prob(tfg.dequantize(images, 4, seed=i)), (8, 8, 1), 4)
        for i in range(5)
    ]
    return np.mean(bits, axis=0)


def train(
    make: Callable[[], tfd.Distribution], learning_rate: float, seconds: float
) -> dict[str, float]:
    """Trains for some seconds; returns bits/dim of the best epoch."""
    images = {
        s: tfg.data.load_arrays("digits", s)[0] for s in ("train", "validation", "test")
    }
    distribution = make()
    data = batches(images["train"])
    if any(isinstance(m, tfg.Glow) for m in distribution.submodules):
        tfg.initialize(distribution, tfg.dequantize(images["train"][:512], 4, seed=0))
    else:
        # `tfb.Glow` initialises itself from the first batch that it sees.
        distribution.log_prob(tfg.dequantize(images["train"][:512], 4, seed=0))
    variables = distribution.trainable_variables
    optimizer = keras.optimizers.Adamax(learning_rate, weight_decay=PRESET.weight_decay)
    optimizer.build([keras.Variable(v, name=f"v{i}") for i, v in enumerate(variables)])
    averages = [tf.Variable(v) for v in variables]
    log_prob = tf.function(distribution.log_prob)

    @tf.function
    def step(x: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            z = tfg.dequantize(x, 4, seed=tf.stack([0, number]))
            bits = tfg.bits_per_dim(distribution.log_prob(z), (8, 8, 1), 4)
            loss = tf.reduce_mean(bits)
        optimizer.apply(tape.gradient(loss, variables))
        for average, variable in zip(averages, variables, strict=True):
            average.assign(
                PRESET.ema_momentum * average + (1 - PRESET.ema_momentum) * variable
            )
        return loss

    def with_averages(function: Callable[[], np.ndarray]) -> np.ndarray:
        raw = [v.numpy() for v in variables]
        for variable, average in zip(variables, averages, strict=True):
            variable.assign(average)
        result = function()
        for variable, value in zip(variables, raw, strict=True):
            variable.assign(value)
        return result

    optimizer.learning_rate.assign(0.0)
    started = time.perf_counter()
    step(next(data), tf.constant(0))
    first_step = time.perf_counter() - started
    for average, variable in zip(averages, variables, strict=True):
        average.assign(variable)
    steps_per_epoch = len(images["train"]) // PRESET.batch_size
    best = {"validation": np.inf, "first step, s": first_step}
    spent = cpu = number = 0.0
    while spent < seconds:
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(steps_per_epoch):
            number += 1
            decay = 0.5 * (1 + np.cos(np.pi * min(spent / seconds, 1)))
            warm_up = min(number / PRESET.warmup_steps, 1)
            optimizer.learning_rate.assign(learning_rate * decay * warm_up)
            step(next(data), tf.constant(int(number)))
        spent += time.perf_counter() - wall_start
        cpu += time.process_time() - cpu_start
        validation = with_averages(
            lambda: evaluate(log_prob, images["validation"]).mean()
        )
        if validation < best["validation"]:
            test = with_averages(lambda: evaluate(log_prob, images["test"]))
            best |= {
                "validation": validation,
                "test": test.mean(),
                "epoch": number // steps_per_epoch,
            }
            best["standard error"] = test.std() / np.sqrt(len(test))
    best |= {"steps": number, "CPU s a step": cpu / number, "variables": len(variables)}
    return best


def main() -> None:
    """Runs the contenders and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of training, each")
    parser.add_argument(
        "--learning-rates", type=float, nargs="+", default=[5e-4, 1e-3, 2e-3]
    )
    arguments = parser.parse_args()
    rows = {}
    for name, make in (("tfp_glow", ours), ("tfb.Glow", theirs)):
        for rate in arguments.learning_rates:
            rows[f"{name}, {rate:g}"] = row = train(make, rate, arguments.seconds)
            print(
                name, rate, {k: round(float(v), 4) for k, v in row.items()}, flush=True
            )
    columns = [
        "test",
        "standard error",
        "validation",
        "steps",
        "CPU s a step",
        "first step, s",
        "variables",
    ]
    print("\n| contender, learning rate | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = [f"{row.get(column, np.nan):.4g}" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
