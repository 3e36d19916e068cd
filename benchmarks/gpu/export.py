"""Writes a training step or a sampler of Glow as a program for an accelerator.

The program is StableHLO, what XLA compiles: `run.py` runs it with JAX alone, on a
machine that need not have TensorFlow. A bundle is a folder of

- `program.stablehlo`, and `initial.stablehlo`, which makes the program's state where it
  runs, so that no weights are copied
- `arguments.npz`: what goes in and is no state: images, or latents
- `manifest.json`: what goes in and comes out, in order, and how much work it is

    python benchmarks/gpu/export.py BUNDLE --steps 32 --batch 64 --memory reversible
"""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from programs import Program, add_options, make_program
from tensorflow.compiler.mlir.stablehlo import stablehlo

SEED = tf.constant(0)  # an argument: from a constant TensorFlow would make the weights
STABLEHLO_VERSION = "1.0.0"  # whoever reads a later one reads this


def make_initializer(
    variables: Sequence[tf.Variable],
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A function of a seed that makes initial values without holding what is large.

    Kernels come from a generator that is everywhere the same, and an invertible
    convolution's matrix starts as its permutation alone.
    """
    known = [variable.numpy() for variable in variables]

    def initial_value(i: int, seed: tf.Tensor) -> tf.Tensor:
        name, value = variables[i].name, known[i]
        if not value.any() or re.search("(lower|upper):", name):
            return tf.zeros(value.shape, value.dtype)
        if "kernel" in name:
            noise = tf.random.stateless_normal(value.shape, [seed, i], alg="philox")
            return 0.05 * noise
        if "permutation/permutation:" in name:
            columns = tf.constant(value.argmax(-1))
            return tf.one_hot(columns, value.shape[-1], dtype=value.dtype)
        return tf.constant(value)

    return lambda seed: [initial_value(i, seed) for i in range(len(variables))]


def used_variables(function: tf.types.experimental.ConcreteFunction) -> list:
    """The variables that a traced function uses, in the order of its inputs."""
    by_handle = {id(v.handle): v for v in function.graph.variables}
    others = [c for c in function.captured_inputs if id(c) not in by_handle]
    if others:
        raise ValueError(f"Only variables can be captured. Received: {others}.")
    return [by_handle[id(captured)] for captured in function.captured_inputs]


def to_stablehlo(
    function: tf.types.experimental.PolymorphicFunction, *arguments: tf.Tensor
) -> tuple[str, dict[int, int]]:
    """A compiled function's program as text, and which input each output replaces."""
    make = function.experimental_get_compiler_ir(*arguments)
    header, _ = make(stage="hlo").split("\n", 1)
    aliases = re.findall(r"\{(\d*)\}: \((\d+), \{\}, may-alias\)", header)
    # A copy is no operation of StableHLO, and to reshape to the same shape is none.
    text = re.sub(
        r"mhlo\.copy (%\S+) : (tensor<[^>]*>)",
        r"stablehlo.reshape \1 : (\2) -> \2",
        make(stage="stablehlo"),
    )
    return text, {int(output or 0): int(input) for output, input in aliases}


def serialize(text: str) -> bytes:
    """A program as what later versions of XLA read; raises where it is no StableHLO."""
    return stablehlo.serialize_portable_artifact_str(text, STABLEHLO_VERSION)


def write_bundle(program: Program, folder: Path, options: dict[str, object]) -> None:
    """Writes a program, its initial state, its arguments and the manifest."""
    function = tf.function(program.function, jit_compile=True, autograph=False)
    arguments = list(program.arguments.values())
    variables = used_variables(function.get_concrete_function(*arguments))
    text, aliases = to_stablehlo(function, *arguments)
    initial = tf.function(
        make_initializer(variables), jit_compile=True, autograph=False
    )
    folder.mkdir(parents=True, exist_ok=True)
    initial_text, _ = to_stablehlo(initial, SEED)
    for name, code in (("program", text), ("initial", initial_text)):
        (folder / f"{name}.stablehlo").write_bytes(serialize(code))
    np.savez(folder / "arguments.npz", **program.arguments)

    def describe(name: str, value: tf.Tensor | tf.TensorSpec) -> dict[str, object]:
        shape = value.shape.as_list()
        return {"name": name, "shape": shape, "dtype": value.dtype.name}

    result = function.get_concrete_function(*arguments).structured_outputs
    manifest = {
        "options": options,
        "num_steps": program.num_steps,
        "batch_size": program.batch_size,
        "convolution_flops": program.convolution_flops,
        "parameters": program.num_parameters,
        # The program takes the arguments, then the state; it returns the result, then
        # new values of the state of these numbers.
        "arguments": [describe(*item) for item in program.arguments.items()],
        "state": [describe(v.name, v) for v in variables],
        "result": describe(program.result, result),
        "new_state": [aliases[i] - len(arguments) for i in sorted(aliases)],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the bundle that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    add_options(parser)
    options = vars(parser.parse_args(arguments))
    folder = options.pop("bundle")
    write_bundle(make_program(argparse.Namespace(**options)), folder, options)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB. Next: python run.py {folder}")


if __name__ == "__main__":
    main()
