"""What do `--merge` and `--precision bfloat16` save of an exported model?

Bytes of the SavedModel, and CPU milliseconds (of all threads) of one request in this
process: no server is involved. The four exports of a model are asked in turn, and the
median of the rounds is taken. Weights are random: no request's cost depends on them.

    python benchmarks/serving/artefact.py
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
import numpy as np
import tensorflow as tf
from figures import Figures  # which finds the folder above
from harness import make_parser

import tfp_glow as tfg

MODELS = {
    "the digits": {
        "event_shape": (8, 8, 1),
        "num_bits": 4,
        "num_levels": 2,
        "num_steps": 16,
        "hidden_channels": 128,
    },
    "the paper's": {
        "event_shape": (32, 32, 3),
        "num_levels": 3,
        "num_steps": 32,
        "hidden_channels": 512,
    },
}
EXPORTS = {
    "as it is": {},
    "--merge": {"merge": True},
    "--precision bfloat16": {"precision": "bfloat16"},
    "--merge --precision bfloat16": {"merge": True, "precision": "bfloat16"},
}
BATCHES = (1, 16)


def make_model(arguments: dict) -> tfg.GlowModel:
    """A model whose coupling networks return something."""
    model = tfg.GlowModel(seed=0, **arguments)
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        noise = rng.normal(scale=0.01, size=variable.shape)
        variable.assign(variable + noise.astype(np.float32))
    return model


def requests(folder: Path, shape: tuple[int, ...]) -> dict[str, Callable[[], object]]:
    """What is asked of an export, by the heading of its column."""
    served = tf.saved_model.load(str(folder))
    rng = np.random.default_rng(0)
    asked = {}
    for batch in BATCHES:
        images = tf.constant(rng.integers(0, 256, [batch, *shape], np.uint8))
        seed, temperature = tf.range(batch), tf.fill([batch], 0.7)
        asked[f"log_prob, {batch}"] = lambda x=images: served.log_prob(x)
        asked[f"sample, {batch}"] = lambda s=seed, t=temperature: served.sample(s, t)
    return asked


def cpu_milliseconds(function: Callable[[], object], calls: int) -> float:
    """Of a call, in all threads."""
    before = time.process_time()
    for _ in range(calls):
        tf.nest.map_structure(np.asarray, function())
    return 1000 * (time.process_time() - before) / calls


def megabytes(folder: Path) -> float:
    """Of a SavedModel."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6


def measure(
    name: str, arguments: dict, rounds: int, calls: int
) -> tuple[list[str], list[list[object]]]:
    """The table of a model: its heads and its rows."""
    model = make_model(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        asked, sizes = {}, {}
        for export, options in EXPORTS.items():
            folder = Path(temporary) / str(len(asked))
            model.export(folder, **options)
            sizes[export] = megabytes(folder)
            asked[export] = requests(folder, model.event_shape)
        for functions in asked.values():
            for function in functions.values():
                cpu_milliseconds(function, 2)  # traces, and warms up
        found = {export: {what: [] for what in asked[export]} for export in asked}
        for _ in range(rounds):
            for export, functions in asked.items():
                for what, function in functions.items():
                    found[export][what].append(cpu_milliseconds(function, calls))
    columns = [name, "MB", *(f"{what}, CPU ms" for what in asked["as it is"])]
    rows = [
        [export, sizes[export], *map(statistics.median, found[export].values())]
        for export in EXPORTS
    ]
    return columns, rows


def main() -> None:
    """Measures all and prints a table for each model."""
    arguments = make_parser(__doc__, rounds=7).parse_args()
    rounds, calls = (1, 1) if arguments.quick else (arguments.rounds, 5)
    figures = Figures()
    for name, of_model in MODELS.items():
        if arguments.quick:
            of_model = of_model | {"num_steps": 2}
        figures.table(*measure(name, of_model, rounds, calls))
    figures.report("artefact", write=arguments.write)


if __name__ == "__main__":
    main()
