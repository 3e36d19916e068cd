"""Does the likelihood tell the class, by `num_classes` and by a context?

Two models of digits, 2 levels x 8 steps of width 64, are trained alike: to one the
class is a label, which reaches the prior of the coarsest level alone, to the other a
context, which every coupling network sees. `class_log_likelihoods` then names the class
of each test image.

    python benchmarks/classes_by_likelihood.py
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from harness import machine, table

import tfp_glow as tfg

NUM_CLASSES = 10
ONE_HOT = np.eye(NUM_CLASSES, dtype="float32")
ARCHITECTURE = {"num_bits": 4, "num_levels": 2, "num_steps": 8, "hidden_channels": 64}


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, nargs="+", default=[10, 20, 30])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    rows = [
        [name, *accuracies(arguments, by_context=by_context)]
        for name, by_context in {"num_classes": False, "a context": True}.items()
    ]
    columns = ["the class is", *(f"{epochs} epochs" for epochs in arguments.epochs)]
    print(table(columns, rows))
    print(f"\n{machine()}.")


def accuracies(arguments: argparse.Namespace, *, by_context: bool) -> list[str]:
    """Shares of the test images whose class was found, after so many epochs."""
    images, labels = tfg.data.load_arrays("digits", "train")
    held_out, expected = tfg.data.load_arrays("digits", "test")
    keras.utils.set_random_seed(0)
    kind = {"context_shape": [NUM_CLASSES]} if by_context else {"num_classes": 10}
    model = tfg.GlowModel(images.shape[1:], seed=0, **ARCHITECTURE, **kind)
    model.compile(tfg.Adamax(arguments.learning_rate))
    data = ((ONE_HOT[labels], images),) if by_context else (images, labels)
    contexts = {"class_contexts": ONE_HOT} if by_context else {}
    shares, trained = [], 0
    for epochs in arguments.epochs:
        model.fit(
            *data,
            batch_size=arguments.batch_size,
            initial_epoch=trained,
            epochs=epochs,
            verbose=0,
        )
        trained = epochs
        found = tfg.latents.class_log_likelihoods(model, held_out, **contexts)
        shares.append(f"{np.mean(np.argmax(found, axis=1) == expected):.1%}")
    return shares


if __name__ == "__main__":
    main()
