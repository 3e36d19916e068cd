"""Do several processes train and evaluate as one does?

Two and three processes of `MultiWorkerMirroredStrategy` on this machine train a small
model on random images, for 20 steps with batches of 16 and of 5, which they cannot
divide evenly. Compared with one process are the losses of all steps, and bits/dim
of 1, 13, 16 and 17 images with one and the same weights.

    python benchmarks/same_training.py
"""

import tempfile
from pathlib import Path

import numpy as np
from harness import make_parser, report, table
from scaling import run_cluster

RATES = (1e-3, 1e-2)
BATCHES = (16, 5)
WORKERS = (2, 3)


def main() -> None:
    """Prints a table."""
    arguments = make_parser(__doc__, None).parse_args()
    steps = 3 if arguments.quick else 20
    rows, found = [], []
    with tempfile.TemporaryDirectory() as folder:
        task = {
            "rates": RATES,
            "batches": BATCHES,
            "steps": steps,
            "weights": str(Path(folder, "of_one.weights.h5")),
        }
        for workers in (1, *WORKERS):
            cluster = run_cluster(workers, task, script="same_training_worker.py")
            found.append(cluster[0])
    alone = found[0]["trainings"]
    for workers, of_workers in zip(WORKERS, found[1:], strict=True):
        for one, other in zip(alone, of_workers["trainings"], strict=True):
            row = [workers, one["batch"], f"{one['rate']:g}"]
            row += [difference(one[key], other[key]) for key in ("losses", "bits")]
            rows.append(row)
    columns = ["workers", "batch", "learning rate", "losses", "evaluations"]
    for result in found:
        result["cores_of_others"] = 0.0  # the figures are no times
    report("same_training", [table(columns, rows)], found, write=arguments.write)


def difference(one: list[float], other: list[float]) -> str:
    """The largest one of two lists, relatively."""
    one, other = np.array(one), np.array(other)
    return f"{np.max(np.abs(other / one - 1)):.1e}"


if __name__ == "__main__":
    main()
