"""Does an image come back exactly from its latents?

Counts the pixels that `decode(encode(x))` changes: of the test images of the models
that come with the package (of digits all images too), of images that are far from those
of their training, and of photos with a small model after a short training.

    python benchmarks/round_trips.py --data-dir DIR_THAT_HAS_FASHION_MNIST
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from harness import machine, table

import tfp_glow as tfg

BATCH_SIZE = 500
NUM_STRANGE = 64
SPLITS = ("train", "validation", "test")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", help="folder of prepared TensorFlow Datasets")
    parser.add_argument("--photo-steps", type=int, default=200, help="of training")
    arguments = parser.parse_args()
    rows = []

    digits = tfg.pretrained.load("digits").model
    of_digits = {n: tfg.data.load_arrays("digits", n)[0] for n in SPLITS}
    rows.append(row("digits", digits, "test", of_digits["test"]))
    everything = np.concatenate(list(of_digits.values()))
    rows.append(row("digits", digits, "train, validation, test", everything))
    rows += [
        row("digits", digits, *pair) for pair in strange(of_digits["test"]).items()
    ]

    fashion = tfg.pretrained.load("fashion").model
    clothes, _ = tfg.data.load_arrays(
        "fashion_mnist", "test", data_dir=arguments.data_dir
    )
    rows.append(row("fashion", fashion, "test", clothes))
    rows += [row("fashion", fashion, *pair) for pair in strange(clothes).items()]

    photos, _ = tfg.data.load_arrays("photos", "test")
    name = f"3 x 4 steps x 64, {arguments.photo_steps} steps of training"
    rows.append(row(name, of_photos(arguments.photo_steps), "photos, test", photos))
    print(table(["model", "images", "number", "wrong pixels", "of"], rows))
    print(f"\n{machine()}.")


def row(name: str, model: tfg.GlowModel, what: str, images: np.ndarray) -> list:
    """Counts the wrong pixels of some images, at the model's `num_bits`."""
    wrong = 0
    step = 2 ** (8 - model.num_bits)
    for start in range(0, len(images), BATCH_SIZE):
        some = images[start : start + BATCH_SIZE]
        back = model.decode(model.encode(some)).numpy()
        wrong += np.count_nonzero(back != some // step * step)
    return [name, what, f"{len(images):,}", f"{wrong:,}", f"{images.size:,}"]


def strange(images: np.ndarray) -> dict[str, np.ndarray]:
    """Images that are far from others, of the same shape."""
    shape = images.shape[1:]
    noise = np.random.default_rng(0).integers(0, 256, [NUM_STRANGE, *shape], np.uint8)
    board = (np.indices(shape).sum(axis=0) % 2 * 255).astype(np.uint8)
    return {
        "noise": noise,
        "black, white, a checkerboard": np.stack(
            [np.zeros_like(board), np.full_like(board, 255), board]
        ),
        "test images in negative": 255 - images[:NUM_STRANGE],
        "test images on their side": np.rot90(images[:NUM_STRANGE], axes=(1, 2)),
    }


def of_photos(num_steps: int) -> tfg.GlowModel:
    """A small model after a short training."""
    keras.utils.set_random_seed(0)
    images, _ = tfg.data.load_arrays("photos", "train")
    model = tfg.GlowModel(
        images.shape[1:], num_levels=3, num_steps=4, hidden_channels=64, seed=0
    )
    model.compile(tfg.Adamax(1e-3))
    model.fit(images[: 16 * num_steps], batch_size=16, epochs=1, verbose=0)
    return model


if __name__ == "__main__":
    main()
