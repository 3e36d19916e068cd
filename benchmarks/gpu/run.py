"""Runs a bundle that `export.py` wrote, and prints what was measured as a line of JSON.

Needs `jax`, and neither TensorFlow nor tfp_glow; `report.py` must lie beside it.

    python run.py BUNDLE --calls 10
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import Exported, maximum_supported_calling_convention_version
from report import MATRIX_SIZE, NUM_PRODUCTS, matrix_rate, median_seconds, summary

jax.config.update("jax_enable_x64", True)  # the steps are counted in int64


def load_program(
    path: Path, inputs: list[dict], outputs: list[dict], platform: str
) -> Callable:
    """A serialised StableHLO module as a function that `jax.jit` takes.

    Args:
        path: The file.
        inputs: Shape and type of each input, in order.
        outputs: Those of each output.
        platform: What it will be compiled for, as `jax.default_backend` names it.
    """
    avals, out_avals = (
        tuple(jax.core.ShapedArray(v["shape"], jnp.dtype(v["dtype"])) for v in values)
        for values in (inputs, outputs)
    )
    known = {
        "fun_name": path.stem,
        "in_tree": jax.tree.structure((avals, {})),
        "in_avals": avals,
        "out_tree": jax.tree.structure(out_avals),
        "out_avals": out_avals,
        "_has_named_shardings": False,
        "_in_named_shardings": (None,) * len(avals),
        "_out_named_shardings": (None,) * len(out_avals),
        "in_shardings_hlo": (None,) * len(avals),
        "out_shardings_hlo": (None,) * len(out_avals),
        "nr_devices": 1,
        "platforms": ("cuda" if platform == "gpu" else platform,),
        "ordered_effects": (),
        "unordered_effects": (),
        "disabled_safety_checks": (),
        "mlir_module_serialized": path.read_bytes(),
        "calling_convention_version": maximum_supported_calling_convention_version,
        "module_kept_var_idx": tuple(range(len(avals))),
        "uses_global_constants": False,
    }
    # Versions of JAX differ in what else there is; none of it is needed.
    names = [field.name for field in dataclasses.fields(Exported)]
    return Exported(**{name: known.get(name) for name in names}).call


def load_step(folder: Path, manifest: dict, platform: str) -> Callable:
    """A bundle's program as a function of state and arguments.

    Returns:
        What returns the result and the new state.
    """
    state, new_state = manifest["state"], manifest["new_state"]
    program = load_program(
        folder / "program.stablehlo",
        [*manifest["arguments"], *state],
        [manifest["result"], *(state[i] for i in new_state)],
        platform,
    )

    def step(state: list, arguments: list) -> tuple[jax.Array, list]:
        result, *values = program(*arguments, *state)
        new = dict(zip(new_state, values, strict=True))
        return result, [new.get(i, value) for i, value in enumerate(state)]

    return step


class Bundle:
    """A program, compiled for the first device, with its state and arguments there."""

    def __init__(self, folder: Path) -> None:
        """Loads and compiles it, and makes its state."""
        self.manifest = json.loads((folder / "manifest.json").read_text())
        platform = jax.default_backend()
        initialize = load_program(
            folder / "initial.stablehlo",
            [{"shape": [], "dtype": "int32"}],
            self.manifest["state"],
            platform,
        )
        self.state = list(jax.jit(initialize)(jnp.int32(0)))
        values = np.load(folder / "arguments.npz")
        names = [argument["name"] for argument in self.manifest["arguments"]]
        self.arguments = [jax.device_put(values[name]) for name in names]
        step = jax.jit(load_step(folder, self.manifest, platform), donate_argnums=0)
        started = time.perf_counter()
        self.step = step.lower(self.state, self.arguments).compile()
        self.compile_seconds = time.perf_counter() - started

    def __call__(self) -> jax.Array:
        """The result of one call, which replaces the state."""
        result, self.state = self.step(self.state, self.arguments)
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
    """Runs the bundle that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--calls", type=int, default=10, help="that are timed")
    options = parser.parse_args()
    bundle = Bundle(options.bundle)
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
    if manifest["result"]["name"] == "losses":
        line["losses"] = np.concatenate(results).tolist()
    print(json.dumps(line))


if __name__ == "__main__":
    main()
