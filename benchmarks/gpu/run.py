"""Runs bundles, and prints of each what was measured as a line of JSON.

Needs `jax`, and neither TensorFlow nor tfp_glow. `export.py` put it into each bundle.
All are compiled first, side by side, for a card's time is dear.

    python BUNDLE/run.py --calls 10
    python BUNDLE/run.py BUNDLE OTHER_BUNDLE
"""

import argparse
import functools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from exported import compile_program, load_program
from report import MATRIX_SIZE, NUM_PRODUCTS, matrix_rate, median_seconds, summary


class Bundle:
    """A program, compiled for the first device.

    Its variables are on the device from `start` until it is forgotten.
    """

    def __init__(self, folder: Path) -> None:
        """Loads and compiles it."""
        self.manifest = json.loads((folder / "manifest.json").read_text())
        platform = jax.default_backend()
        program, self.initialize = (
            load_program(folder, self.manifest[name], platform)
            for name in ("program", "initial")
        )
        self.arguments = dict(np.load(folder / "arguments.npz"))
        described = self.manifest["program"]["inputs"]
        self.variables = {
            v["variable"]: jax.ShapeDtypeStruct(v["shape"], jnp.dtype(v["dtype"]))
            for v in described
            if "variable" in v
        }
        started = time.perf_counter()
        self.step = compile_program(
            program, self.arguments, self.variables, donated=(1,)
        )
        self.compile_seconds = time.perf_counter() - started

    def start(self) -> None:
        """Makes the variables."""
        values, _ = jax.jit(self.initialize)({"seed": jnp.int32(0)}, {})
        self.variables = dict(zip(self.manifest["variables"], values, strict=True))
        self.arguments = jax.device_put(self.arguments)

    def __call__(self) -> jax.Array:
        """The result of one call, which replaces the variables."""
        (result,), self.variables = self.step(self.arguments, self.variables)
        return jax.block_until_ready(result)


@functools.cache
def measured_matrix_rate() -> float:
    """Operations a second of large products of matrices in bfloat16."""
    size = MATRIX_SIZE.get(jax.default_backend(), MATRIX_SIZE["gpu"])
    matrix = jax.random.normal(jax.random.key(0), [size, size], jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)

    def multiply_all() -> None:
        # Calls return before the device is done: it is never without work.
        jax.block_until_ready([multiply(matrix, matrix) for _ in range(NUM_PRODUCTS)])

    return matrix_rate(multiply_all, size)


def measure(bundle: Bundle, num_calls: int) -> dict[str, object]:
    """What is printed of a bundle."""
    bundle.start()
    results = []
    seconds = median_seconds(lambda: results.append(bundle()), num_calls)
    device = jax.devices()[0]
    # Of all that was measured in this process, hence of this bundle if it is alone.
    peak = (device.memory_stats() or {}).get("peak_bytes_in_use")
    memory = bundle.step.memory_analysis()
    manifest = bundle.manifest
    line = {
        **manifest["options"],
        "device": device.device_kind,
        "jax": jax.__version__,
        "parameters": manifest["parameters"],
        "compile_seconds": bundle.compile_seconds,
        "peak_megabytes": None if peak is None else peak / 1e6,
        "state_megabytes": memory.argument_size_in_bytes / 1e6,
        "temporary_megabytes": memory.temp_size_in_bytes / 1e6,
        **summary(
            call_seconds=seconds,
            num_steps=manifest["num_steps"],
            batch_size=manifest["batch_size"],
            convolution_flops=manifest["convolution_flops"],
            rate=measured_matrix_rate(),
        ),
    }
    if manifest["result"] == "losses":
        line["losses"] = np.concatenate(results).tolist()
    return line


def main() -> None:
    """Runs the bundles that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "bundles",
        type=Path,
        nargs="*",
        metavar="BUNDLE",
        help="(default: the one that this file is in)",
    )
    parser.add_argument("--calls", type=int, default=10, help="that are timed")
    options = parser.parse_args()
    folders = options.bundles or [Path(__file__).parent]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bundles = list(pool.map(Bundle, folders))
    while bundles:
        print(json.dumps(measure(bundles.pop(0), options.calls)), flush=True)


if __name__ == "__main__":
    main()
