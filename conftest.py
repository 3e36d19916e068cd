"""What all tests and the examples in docstrings share."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# What XLA compiles here runs once or twice: LLVM need not make it fast.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow

# The tests' arrays are tiny, and pytest-xdist runs a process a core.
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
# Where there is a GPU: float32 is to mean float32.
tf.config.experimental.enable_tensor_float_32_execution(False)


@pytest.fixture(autouse=True)
def names_in_examples(doctest_namespace: dict[str, object]) -> None:
    """Examples import neither what everybody imports nor the package's public names."""
    doctest_namespace.update(np=np, tf=tf, tfb=tfp.bijectors, tfd=tfp.distributions)
    for name in tfp_glow.__all__:
        doctest_namespace[name] = getattr(tfp_glow, name)


@pytest.fixture(autouse=True, scope="module")
def _collector_at_rest() -> None:
    """Takes what earlier modules left alive out of sight of the garbage collector.

    Graphs are many objects, and a collector that looks at all of them again and again
    makes the last tests of a process take several times as long as the first.
    """
    gc.collect()
    gc.freeze()
