"""Runs the bundle that it is in, and prints what was measured as a line of JSON.

Needs `jax`, and neither TensorFlow nor tfp_glow. `export.py` put it there.

    python BUNDLE/run.py --calls 10
"""

import argparse
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from exported import load_program
from report import MATRIX_SIZE, NUM_PRODUCTS, matrix_rate, median_seconds, summary


class Bundle:
    """A program, compiled for the first device, with variables and arguments there."""

    def __init__(self, folder: Path) -> None:
        """Loads and compiles it, and makes its variables."""
        self.manifest = json.loads((folder / "manifest.json").read_text())
        platform = jax.default_backend()
        program, initialize = (
            load_program(folder, self.manifest[name], platform)
            for name in ("program", "initial")
        )
        values, _ = jax.jit(initialize)({"seed": jnp.int32(0)}, {})
        self.variables = dict(zip(self.manifest["variables"], values, strict=True))
        self.arguments = {
            name: jax.device_put(value)
            for name, value in np.load(folder / "arguments.npz").items()
        }
        step = jax.jit(program, donate_argnums=1)
        started = time.perf_counter()
        self.step = step.lower(self.arguments, self.variables).compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self) -> jax.Array:
        """The result of one call, which replaces the variables."""
        (result,), self.variables = self.step(self.arguments, self.variables)
        return jax.block_until_ready(result)


def measured_matrix_rate() -> float:
    """Operations a second of large products of matrices in bfloat16."""
    size = MATRIX_SIZE.get(jax.default_backend(), MATRIX_SIZE["gpu"])
    matrix = jax.random.normal(jax.random.key(0), [size, size], jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)

    def multiply_all() -> None:
        # Calls return before the device is done: it is never without work.
        jax.block_until_ready([multiply(matrix, matrix) for _ in range(NUM_PRODUCTS)])

    return matrix_rate(multiply_all, size)


def main() -> None:
    """Runs the bundle as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=10, help="that are timed")
    options = parser.parse_args()
    bundle = Bundle(Path(__file__).parent)
    results = []
    seconds = median_seconds(lambda: results.append(bundle()), options.calls)
    device = jax.devices()[0]
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
    print(json.dumps(line))


if __name__ == "__main__":
    main()
