"""Does a deep affine Glow stay invertible after training, and what does a bound cost?

Trains 3 levels x 32 steps on CIFAR-10 in float32 with each map from a network's output
to a scale, and then looks at held-out images and at samples of temperature 1; for
comparison with the same weights in float64 too.

    python benchmarks/invertibility_at_depth.py --data-dir DIR --steps 300
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import tfp_glow as tfg


def main() -> None:
    """Prints a row for each contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--hidden-channels", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--num-held-out", type=int, default=256)
    parser.add_argument("--num-samples", type=int, default=256)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    contenders = [
        {"coupling": "affine", "scale": "sigmoid"},
        {"coupling": "affine", "scale": "bounded"},
        {"coupling": "additive", "scale": "bounded"},
    ]
    print(
        "| coupling, scale | seed | test bits/dim | wrong pixels | error on images "
        "(float64) | not finite | black | median, largest value of samples |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for seed in arguments.seeds:
        for contender in contenders:
            print(row(arguments, contender, seed), flush=True)


def row(arguments: argparse.Namespace, contender: dict[str, str], seed: int) -> str:
    """Trains a model, and says what became of it."""
    load = {"data_dir": arguments.data_dir}
    held_out, _ = tfg.data.load_arrays(
        arguments.dataset, "test", limit=arguments.num_held_out, **load
    )
    keras.utils.set_random_seed(seed)
    model = tfg.GlowModel(
        held_out.shape[1:],
        num_levels=3,
        num_steps=32,
        hidden_channels=arguments.hidden_channels,
        seed=seed,
        **contender,
    )
    warmup_steps = arguments.steps // 6
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        arguments.steps - warmup_steps,
        warmup_target=arguments.learning_rate,
        warmup_steps=warmup_steps,
    )
    model.compile(keras.optimizers.Adamax(rate))
    images = arguments.batch_size * arguments.steps
    train, _ = tfg.data.load_arrays(
        arguments.dataset, "train", limit=min(images, 40_000), **load
    )
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train), seed)
    batches = batches.repeat().batch(arguments.batch_size).take(arguments.steps)
    model.fit(batches, shuffle=False, verbose=0)

    bits = np.mean(model.bits_per_dim(held_out, seed=0))
    report, exact = (
        tfg.check_invertibility(m, held_out, num_samples=arguments.num_samples, seed=1)
        for m in (model, model.with_dtype("float64"))
    )
    samples = model.distribution.sample(arguments.num_samples, seed=[1, 0])
    largest = np.max(np.abs(samples), axis=(1, 2, 3))
    largest = np.sort(np.where(np.isfinite(largest), largest, np.inf))
    return (
        f"| {contender['coupling']}, {contender['scale']} | {seed} | {bits:.3f} | "
        f"{report.num_wrong_pixels} of {held_out.size:,} | "
        f"{report.data_error:.1e} ({exact.data_error:.1e}) | "
        f"{report.num_not_finite} of {report.num_samples} | {report.num_black} | "
        f"{np.median(largest):.3g}, {largest[-1]:.3g} |"
    )


if __name__ == "__main__":
    main()
