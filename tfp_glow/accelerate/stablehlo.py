"""A function of TensorFlow that uses variables, as a program for any runtime of XLA."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.compiler.mlir.stablehlo import stablehlo

from tfp_glow.convolution import for_accelerator

__all__ = ["SEED", "export_program", "make_initializer", "used_variables"]

SEED = tf.constant(0)
"""An argument for initial values: from a constant TensorFlow would make the weights."""

_VERSION = "1.0.0"  # of StableHLO: whoever reads a later one reads this
_MOST_NUMBERS = 2**18  # of a constant


def make_initializer(
    variables: Sequence[tf.Variable],
) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """A function of a seed that makes initial values without holding what is large.

    Kernels come from a generator that is everywhere the same, and where an invertible
    convolution's matrices are large, it starts as its permutation alone.
    """
    known = [variable.numpy() for variable in variables]

    def initial_value(i: int, seed: tf.Tensor) -> tf.Tensor:
        name, value = variables[i].name, known[i]
        if not value.any():
            return tf.zeros(value.shape, value.dtype)
        if "kernel" in name:
            noise = tf.random.stateless_normal(
                value.shape, [seed, i], dtype=value.dtype, alg="philox"
            )
            return 0.05 * noise
        if value.size > _MOST_NUMBERS and re.search("(lower|upper):", name):
            return tf.zeros(value.shape, value.dtype)
        if value.size > _MOST_NUMBERS and "permutation/permutation:" in name:
            columns = tf.constant(value.argmax(-1))
            return tf.one_hot(columns, value.shape[-1], dtype=value.dtype)
        return tf.constant(value)

    return lambda seed: [initial_value(i, seed) for i in range(len(variables))]


def used_variables(
    function: tf.types.experimental.ConcreteFunction,
    known: Iterable[tf.Variable] = (),
) -> list[tf.Variable | tf.Tensor]:
    """What a traced function captures, in the order of its inputs.

    Args:
        function: The function.
        known: Variables that it may use by their handles alone, as optimizers do.

    Returns:
        Variables, and constants where it captures a tensor.
    """
    by_handle = {id(v.handle): v for v in [*function.graph.variables, *known]}
    captured = [by_handle.get(id(c), c) for c in function.captured_inputs]
    for value in captured:
        if not isinstance(value, tf.Variable) and value.dtype == tf.resource:
            raise ValueError(f"A variable that nobody knows is used: {value}.")
    return captured


def export_program(
    file: Path,
    function: Callable[..., Any],
    arguments: Mapping[str, tf.Tensor],
    known: Iterable[tf.Variable] = (),
) -> dict[str, Any]:
    """Writes a function as a StableHLO module.

    Args:
        file: Where to.
        function: Takes tensors, returns tensors, may read and assign variables.
        arguments: What it takes, by name and in order.
        known: As `used_variables` takes it.

    Returns:
        For `load_program` of `tfp_glow.accelerate.on_card.exported`: the file, and of
        each input and output shape, type and what it is.

    Raises:
        NotImplementedError: If TensorFlow computes something that is no StableHLO.
    """
    compiled = tf.function(function, jit_compile=True, autograph=False)
    with for_accelerator():
        traced = compiled.get_concrete_function(*arguments.values())
    captured = used_variables(traced, known)
    inputs = [
        *({"argument": name, **_type(value)} for name, value in arguments.items()),
        *({**_captured(value), **_type(value)} for value in captured),
    ]
    names = [v["variable"] for v in inputs if "variable" in v]
    if len(set(names)) < len(names):
        raise ValueError(f"Each variable needs a name of its own. Received: {names}.")
    make = compiled.experimental_get_compiler_ir(*arguments.values())
    header, _ = make(stage="hlo").split("\n", 1)
    aliases = re.findall(r"\{(\d*)\}: \((\d+), \{\}, may-alias\)", header)
    # A copy is no operation of StableHLO, and to reshape to the same shape is none.
    text = re.sub(
        r"mhlo\.copy (%\S+) : (tensor<[^>]*>)",
        r"stablehlo.reshape \1 : (\2) -> \2",
        make(stage="stablehlo"),
    )
    inputs = _kept(inputs, text)
    results = tf.nest.flatten(traced.structured_outputs)
    replaced = {int(output or 0): int(input) for output, input in aliases}
    try:
        module = stablehlo.serialize_portable_artifact_str(text, _VERSION)
    except ValueError as error:
        kinds = set(re.findall(r"\b(?:mhlo|chlo)\.\w+(?= %)", text))
        raise NotImplementedError(
            "This model cannot leave TensorFlow: it computes what StableHLO does not "
            f"have: {', '.join(sorted(kinds)) or error}."
        ) from error
    file.write_bytes(module)
    return {
        "file": file.name,
        "inputs": inputs,
        "results": [_type(result) for result in results],
        "new": [inputs[replaced[i]]["variable"] for i in sorted(replaced)],
    }


def _kept(inputs: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The inputs that a program has: constants may have become part of it.

    Raises:
        NotImplementedError: If anything else has.
    """
    (signature,) = re.findall(r"func\.func .*@main\((.*)", text)
    types = re.findall(r"%arg\d+: tensor<([\dx]*)", signature)
    shapes = [[int(size) for size in sizes.split("x") if size] for sizes in types]
    for kept in (inputs, [v for v in inputs if "constant" not in v]):
        if [v["shape"] for v in kept] == shapes:
            return kept
    raise NotImplementedError("TensorFlow has made an input part of the program.")


def _type(value: tf.Tensor | tf.Variable | tf.TensorSpec) -> dict[str, Any]:
    return {"shape": value.shape.as_list(), "dtype": value.dtype.name}


def _captured(value: tf.Variable | tf.Tensor) -> dict[str, Any]:
    if isinstance(value, tf.Variable):
        return {"variable": value.name}
    if prod(value.shape) > 1:
        raise ValueError(f"Only variables and single numbers are captured: {value}.")
    return {"constant": value.numpy().tolist()}
