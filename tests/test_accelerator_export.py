"""The programs of benchmarks/gpu: what is in them, and that JAX runs them alike."""

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfp_glow.accelerate import stablehlo

FOLDER = Path(__file__).parents[1] / "benchmarks" / "gpu"
NUM_STEPS = 5
OPTIONS = {
    "levels": 2,
    "steps": 2,
    "width": 16,
    "batch": 4,
    "image_size": 8,
    "loop_steps": NUM_STEPS,
    "memory": "reversible",  # `tests/accelerate` trains with stored activations
}
# Operations that XLA drops or cannot compile, or that are random and not stateless.
REFUSED = "Assert|CheckNumerics|.*PyFunc.*|Print.*|Random(Uniform|StandardNormal).*"


@pytest.fixture(scope="module")
def export():
    """The module benchmarks/gpu/export.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("export")


@pytest.fixture
def options(export):
    """What the command line makes of the options above."""
    parser = argparse.ArgumentParser()
    export.add_options(parser)
    return argparse.Namespace(**vars(parser.parse_args([])) | OPTIONS)


def operations(function):
    """Types of all operations of a traced function, and of the functions it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


@pytest.fixture
def texts(monkeypatch):
    """The texts of the programs that are exported."""
    texts = []
    serialize = stablehlo.stablehlo.serialize_portable_artifact_str
    monkeypatch.setattr(
        stablehlo.stablehlo,
        "serialize_portable_artifact_str",
        lambda text, version: texts.append(text) or serialize(text, version),
    )
    return texts


@pytest.mark.parametrize("what", ["train", "sample"])
def test_a_program_is_plain_stablehlo(export, options, what, tmp_path, texts):
    options.what = what
    program = export.make_program(options)
    function = tf.function(program.function, autograph=False)
    traced = function.get_concrete_function(*program.arguments.values())
    refused = [op for op in operations(traced) if re.fullmatch(REFUSED, op)]
    assert not refused
    described = stablehlo.export_program(
        tmp_path / "program", program.function, program.arguments
    )
    (text,) = texts
    assert "custom_call" not in text
    assert not re.search(r"stablehlo\.rng\b", text)
    assert "stablehlo.while" in text
    trained = len(program.glow.trainable_variables) if what == "train" else 0
    new = described["new"]
    assert len(new) == 3 * trained + (what == "train")  # and the step's number
    assert set(new) <= {v.get("variable") for v in described["inputs"]}


def test_convolutions_of_a_wide_network_are_aligned_products(
    export, options, tmp_path, texts
):
    options.levels, options.steps, options.width = 1, 1, 128
    program = export.make_program(options)
    stablehlo.export_program(tmp_path / "program", program.function, program.arguments)
    (text,) = texts
    assert "stablehlo.convolution" not in text
    in_network = re.findall(r"stablehlo\.dot\w* .*: \(tensor<64x(\d+)xf32>", text)
    pixels = options.batch * 4 * 4
    assert pixels == 64
    assert {int(size) % 8 for size in in_network} == {0}


def test_exporting_needs_no_jax():
    code = "import sys; sys.modules['jax'] = None; import export"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=FOLDER)


def test_jax_takes_the_same_steps_as_tensorflow(export, options, tmp_path):
    pytest.importorskip("jax")
    program = export.make_program(options)
    export.write_bundle(program, tmp_path, vars(options))
    done = subprocess.run(
        [sys.executable, tmp_path / "run.py", "--calls", "1"],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    )
    of_jax = json.loads(done.stdout.splitlines()[-1])["losses"]

    arguments = program.arguments.values()
    function = tf.function(program.function, autograph=False)
    variables = stablehlo.used_variables(function.get_concrete_function(*arguments))
    initialize = tf.function(
        export.make_initializer(variables), jit_compile=True, autograph=False
    )
    for variable, value in zip(variables, initialize(export.SEED), strict=True):
        variable.assign(value)
    of_tensorflow = [function(*arguments) for _ in range(len(of_jax) // NUM_STEPS)]
    np.testing.assert_allclose(of_jax, np.concatenate(of_tensorflow), rtol=1e-5)
    assert of_jax[-1] < of_jax[0]
