"""Does a Glow notice images of another kind, and by which score?

Trains one small model on Fashion-MNIST and one on CIFAR-10 made grey, and asks each
about held-out images of its own kind, of the other's, and about scikit-learn's digits,
enlarged. Raw likelihood fails where the strange images are the simpler ones.

    python benchmarks/out_of_distribution.py --data-dir DIR
    python benchmarks/out_of_distribution.py --data-dir DIR --pretrained

The second trains nothing: it asks the Fashion-MNIST model that comes with the package,
and draws ROC curves, `docs/roc.png`.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from harness import FOLDER, table
from PIL import Image

import tfp_glow as tfg
from tfp_glow.plots import roc_curves

SCORES = ("likelihood", "typicality", "complexity")


def main() -> None:
    """Prints a table, and draws the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--num-steps", type=int, default=4)
    parser.add_argument("--hidden-channels", type=int, default=64)
    parser.add_argument("--num-images", type=int, default=1000)
    parser.add_argument("--pretrained", action="store_true")
    arguments = parser.parse_args()
    sets = {
        "Fashion-MNIST": images_of("fashion_mnist", arguments),
        "grey CIFAR-10": images_of("cifar10", arguments),
        "digits": {"test": enlarged_digits(arguments.num_images)},
    }
    rows, curves = [], {}
    kinds = ("Fashion-MNIST",) if arguments.pretrained else tuple(sets)[:2]
    for kind in kinds:
        if arguments.pretrained:
            model = tfg.pretrained.load("fashion").model
        else:
            model = trained(sets[kind]["train"], arguments)
        validation = sets[kind]["validation"]
        usual = out_of_distribution(model, validation, 0.0)["likelihood"].mean()
        scores = {
            name: out_of_distribution(model, images["test"], usual)
            for name, images in sets.items()
        }
        own = scores.pop(kind)
        for name, other in scores.items():
            bits = own["likelihood"].mean(), other["likelihood"].mean()
            found = {s: tfg.latents.roc(own[s], other[s]) for s in SCORES}
            areas = [curve.area for curve in found.values()]
            rows.append([kind, name, *(f"{x:.3f}" for x in (*bits, *areas))])
            curves |= {f"{name}, {s}": curve for s, curve in found.items()}
    columns = ["trained on", "strange images", "bits/dim, own", "bits/dim, strange"]
    print(table([*columns, *(f"AUC, {score}" for score in SCORES)], rows))
    if arguments.pretrained:
        roc_curves(curves).savefig(FOLDER.parent / "docs" / "roc.png")


def images_of(name: str, arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Images of three splits, 32 x 32 x 1; as many as are asked for of the last two."""
    limits = {"train": 40_000, "validation": 1000, "test": arguments.num_images}
    return {
        split: grey(
            tfg.data.load_arrays(name, split, limit=limit, data_dir=arguments.data_dir)[
                0
            ]
        )
        for split, limit in limits.items()
    }


def grey(images: np.ndarray) -> np.ndarray:
    """Pillow's grey of colours."""
    if images.shape[-1] == 1:
        return images
    return np.stack([np.asarray(Image.fromarray(x).convert("L")) for x in images])[
        ..., np.newaxis
    ]


def enlarged_digits(num_images: int) -> np.ndarray:
    """The 8 x 8 digits as 24 x 24, with a border as those of MNIST have."""
    images, _ = tfg.data.load_arrays("digits", "train", limit=num_images)
    large = [
        np.asarray(
            Image.fromarray(x[..., 0]).resize((24, 24), Image.Resampling.BICUBIC)
        )
        for x in images
    ]
    return np.pad(large, [(0, 0), (4, 4), (4, 4)])[..., np.newaxis]


def trained(images: np.ndarray, arguments: argparse.Namespace) -> tfg.GlowModel:
    """A small model after some thousand steps with warm-up."""
    keras.utils.set_random_seed(0)
    model = tfg.GlowModel(
        images.shape[1:],
        num_levels=3,
        num_steps=arguments.num_steps,
        hidden_channels=arguments.hidden_channels,
        scale="bounded",
        seed=0,
    )
    warmup_steps = arguments.steps // 10
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        arguments.steps - warmup_steps,
        warmup_target=2e-3,
        warmup_steps=warmup_steps,
    )
    model.compile(tfg.Adamax(rate))
    batches = tf.data.Dataset.from_tensor_slices(images).shuffle(len(images), 0)
    batches = batches.repeat().batch(arguments.batch_size).take(arguments.steps)
    history = model.fit(batches, shuffle=False, verbose=0).history
    print(f"mean bits/dim of training: {history['bits_per_dim'][-1]:.3f}", flush=True)
    return model


def out_of_distribution(
    model: tfg.GlowModel, images: np.ndarray, usual: float
) -> dict[str, np.ndarray]:
    """The three scores of each image."""
    return tfg.latents.out_of_distribution_scores(model, images, typical_bits=usual)


if __name__ == "__main__":
    main()
