"""Programs of StableHLO as functions that JAX compiles and runs."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.export import Exported, maximum_supported_calling_convention_version

__all__ = ["Program", "compile_program", "load_program"]

jax.config.update("jax_enable_x64", True)  # steps are counted in int64

Arrays = Mapping[str, Any]
Program = Callable[[Arrays, Arrays], tuple[list, dict]]
"""Of arguments and variables by their names; gives results and all new variables."""

# The library's products add bias and ReLU without another pass over memory. XLA's own,
# which it prefers otherwise, do not.
_OPTIONS = {"gpu": {"xla_gpu_enable_triton_gemm": False}}


def compile_program(
    function: Callable,
    *arguments: Any,
    donated: tuple[int, ...] = (),
    platform: str | None = None,
) -> jax.stages.Compiled:
    """Compiles a function for arguments like these.

    Args:
        function: The function.
        *arguments: Arrays, or what describes them.
        donated: Numbers of the arguments whose memory the results may take.
        platform: What it is compiled for; `jax.default_backend()` when not given.
    """
    lowered = jax.jit(function, donate_argnums=donated).lower(*arguments)
    return lowered.compile(_OPTIONS.get(platform or jax.default_backend(), {}))


def load_program(
    folder: Path, description: Mapping[str, Any], platform: str
) -> Program:
    """Reads a program that `export_program` wrote.

    Args:
        folder: Where its file is.
        description: What `export_program` returned.
        platform: What it will be compiled for, as `jax.default_backend` names it.

    Returns:
        A function for `jax.jit`. Of the variables it uses those that it needs, and
        hands the others on.
    """
    inputs, new = description["inputs"], description["new"]
    types = {v["variable"]: v for v in inputs if "variable" in v}
    results = description["results"]
    call = _exported(
        folder / description["file"],
        [_aval(v) for v in inputs],
        [_aval(v) for v in [*results, *(types[name] for name in new)]],
        platform,
    )

    def program(arguments: Arrays, variables: Arrays) -> tuple[list, dict]:
        values = call(*(_value(v, arguments, variables) for v in inputs))
        found = dict(zip(new, values[len(results) :], strict=True))
        return list(values[: len(results)]), {**variables, **found}

    return program


def _value(input: Mapping[str, Any], arguments: Arrays, variables: Arrays) -> Any:
    if "argument" in input:
        return arguments[input["argument"]]
    if "variable" in input:
        return variables[input["variable"]]
    return jnp.full(input["shape"], input["constant"], input["dtype"])


def _aval(value: Mapping[str, Any]) -> jax.core.ShapedArray:
    return jax.core.ShapedArray(tuple(value["shape"]), jnp.dtype(value["dtype"]))


def _exported(file: Path, avals: list, out_avals: list, platform: str) -> Callable:
    """A serialised StableHLO module as a function that `jax.jit` takes."""
    avals, out_avals = tuple(avals), tuple(out_avals)
    known = {
        "fun_name": file.stem,
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
        "mlir_module_serialized": file.read_bytes(),
        "calling_convention_version": maximum_supported_calling_convention_version,
        "module_kept_var_idx": tuple(range(len(avals))),
        "uses_global_constants": False,
    }
    # Versions of JAX differ in what else there is; none of it is needed.
    names = [field.name for field in dataclasses.fields(Exported)]
    return Exported(**{name: known.get(name) for name in names}).call
