"""What do rebuilt activations and bfloat16 networks cost in exactness, at full depth?

Trains the paper's CIFAR-10 model (3 levels x 32 steps) for some hundred steps on real
images. Then compares, on the trained weights and held-out images: the gradients with
activations rebuilt and stored, in each precision; bits/dim with networks in float32 and
in bfloat16; and the pixels that decode(encode(x)) gets wrong.

    python benchmarks/exactness_of_training.py --data-dir DIR
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import tfp_glow as tfg


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--hidden-channels", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--num-held-out", type=int, default=256)
    arguments = parser.parse_args()
    load = {"data_dir": arguments.data_dir}
    train, _ = tfg.data.load_arrays(
        arguments.dataset, "train", limit=arguments.batch_size * 1000, **load
    )
    held_out, _ = tfg.data.load_arrays(
        arguments.dataset, "test", limit=arguments.num_held_out, **load
    )
    model = trained(arguments, train)
    print_conditions(model)
    print_gradients(model, held_out[: arguments.batch_size])
    print_mixed_precision(model, held_out)


def trained(arguments: argparse.Namespace, train: np.ndarray) -> tfg.GlowModel:
    """A model after some hundred steps with warm-up."""
    keras.utils.set_random_seed(0)
    model = tfg.GlowModel(
        train.shape[1:],
        num_levels=3,
        num_steps=32,
        hidden_channels=arguments.hidden_channels,
        memory="reversible",
        seed=0,
    )
    warmup_steps = arguments.steps // 4
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        arguments.steps - warmup_steps,
        warmup_target=arguments.learning_rate,
        warmup_steps=warmup_steps,
    )
    model.compile(keras.optimizers.Adamax(rate))
    batches = tf.data.Dataset.from_tensor_slices(train).shuffle(len(train), 0).repeat()
    batches = batches.batch(arguments.batch_size).take(arguments.steps)
    history = model.fit(batches, shuffle=False, verbose=0)
    bits = history.history["bits_per_dim"][-1]
    print(
        f"{arguments.steps} steps, mean bits/dim of training {bits:.3f}\n", flush=True
    )
    return model


def print_conditions(model: tfg.GlowModel) -> None:
    """How far from singular the steps' matrices and scales are."""
    conditions, scales = [], []
    for level in model.glow.levels:
        for step in level.steps:
            conditions.append(np.linalg.cond(step.permutation.matrix()))
            scales.append(np.ptp(step.act_norm.log_scale))
    print(
        f"Condition numbers of the {len(conditions)} matrices: median "
        f"{np.median(conditions):.2f}, largest {np.max(conditions):.2f}; largest ratio "
        f"of two channels' scales in an act-norm {np.exp(np.max(scales)):.1f}\n"
    )


def gradients(
    model: tfg.GlowModel,
    memory: str,
    images: np.ndarray,
    *,
    jit_compile: bool = False,
) -> list:
    """Of the loss, with respect to each trainable variable."""
    for level in model.glow.levels:
        level.memory = memory
    variables = [v.value for v in model.trainable_variables]
    x = tfg.dequantize(images, seed=0)
    x = tf.cast(x, model.glow.dtype)

    @tf.function(reduce_retracing=True, jit_compile=jit_compile)
    def evaluate(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(model.distribution.log_prob(x))
        return tape.gradient(loss, variables)

    return [np.asarray(g, np.float64) for g in evaluate(x)]


def print_gradients(model: tfg.GlowModel, images: np.ndarray) -> None:
    """Largest difference over each variable's largest entry: worst and median."""
    exact = gradients(model.with_dtype("float64"), "stored", images)
    print("| gradients | against | worst variable | median variable | which |")
    print("|---|---|---|---|---|")
    names = [v.path for v in model.trainable_variables]
    for dtype, compiler in (
        ("float64", ""),
        ("float32", ""),
        ("mixed_bfloat16", ""),
        ("float32", ", XLA"),
    ):
        other = model.with_dtype(dtype)
        stored, rebuilt = (
            gradients(other, memory, images, jit_compile=bool(compiler))
            for memory in ("stored", "reversible")
        )
        for what, found, against, reference in (
            ("rebuilt", rebuilt, f"stored, {dtype}{compiler}", stored),
            ("rebuilt", rebuilt, "stored, float64", exact),
            ("stored", stored, "stored, float64", exact),
        ):
            if dtype == "float64" and reference is exact:
                continue
            errors = [
                np.max(np.abs(a - b)) / np.max(np.abs(b))
                for a, b in zip(found, reference, strict=True)
            ]
            print(
                f"| {what}, {dtype}{compiler} | {against} | {np.max(errors):.1e} | "
                f"{np.median(errors):.1e} | {names[np.argmax(errors)]} |",
                flush=True,
            )
    print()


def print_mixed_precision(model: tfg.GlowModel, images: np.ndarray) -> None:
    """Bits/dim, and what comes back of images, with networks in each precision."""
    print("| networks | bits/dim | difference | wrong pixels of decode(encode(x)) |")
    print("|---|---|---|---|")
    reference = None
    for dtype in ("float32", "mixed_bfloat16"):
        other = model.with_dtype(dtype)
        bits = np.mean([other.bits_per_dim(b, seed=0) for b in np.split(images, 8)])
        reference = bits if reference is None else reference
        wrong = sum(
            np.sum(other.decode(other.encode(b)) != b) for b in np.split(images, 8)
        )
        print(
            f"| {dtype} | {bits:.4f} | {bits - reference:+.4f} | {wrong:,} of "
            f"{images.size:,} ({wrong / images.size:.1e}) |",
            flush=True,
        )
    wrong = wrong_with_float64_latents(model, images)
    print(
        f"| bfloat16, latents in float64 | | | {wrong:,} of {images.size:,} "
        f"({wrong / images.size:.1e}) |",
        flush=True,
    )


def wrong_with_float64_latents(model: tfg.GlowModel, images: np.ndarray) -> int:
    """Pixels that bfloat16 networks get wrong if nothing is rounded to float32."""
    glow = tfg.Glow(
        images.shape[1:],
        num_levels=3,
        num_steps=32,
        hidden_channels=model.get_config()["hidden_channels"],
        dtype=tf.float64,
        network_dtype=tf.bfloat16,
    )
    for variable, value in zip(glow.variables, model.glow.variables, strict=True):
        variable.assign(tf.cast(value, variable.dtype))
    forward, inverse = tf.function(glow.forward), tf.function(glow.inverse)
    wrong = 0
    for batch in np.split(images, 8):
        x = (tf.cast(batch, tf.float64) + 0.5) / 256 - 0.5  # the middles of the pixels
        wrong += np.sum(tfg.quantize(forward(tf.identity(inverse(x)))) != batch)
    return wrong


if __name__ == "__main__":
    main()
