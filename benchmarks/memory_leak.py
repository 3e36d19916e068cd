"""Does a process grow that evaluates `log_prob` again and again?

2,000 eager calls on new tensors; 200 retraces of one `tf.function`, each for another
batch size; 200 `tf.function`s that are each traced once and dropped. Beside tfp_glow
two controls of about as many operations: a `tfb.Chain` of TFP's own bijectors, and a
function without any bijector. Each row is measured in a process of its own.

What is measured is the resident set, `VmRSS` in `/proc/self/status`, after a warm-up
of the same kind, garbage collection and `malloc_trim`: glibc keeps freed memory to use
it again, which is no leak. So this needs Linux with glibc. The warm-up of the retraces
is as many again: what they leave the first time only is a heap in pieces.

    python benchmarks/memory_leak.py
    python benchmarks/memory_leak.py --gradients --retraces 20

The second is of gradients by stored and by rebuilt activations, without a bound:
TensorFlow keeps every graph with a gradient that is defined by hand.
"""

import argparse
import ctypes
import functools
import gc
import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tensorflow_probability as tfp

import tfp_glow as tfg

tfb = tfp.bijectors
tfd = tfp.distributions

LogProb = Callable[[tf.Tensor], tf.Tensor | list[tf.Tensor]]

EVENT_SHAPE = (8, 8, 1)


def glow() -> LogProb:
    """Ours: two levels of two steps."""
    bijector = tfg.Glow(
        EVENT_SHAPE, num_levels=2, num_steps=2, hidden_channels=16, seed=0
    )
    return tfg.glow_distribution(bijector).log_prob


def gradients(memory: str) -> LogProb:
    """Ours, with the gradients of its variables."""
    bijector = tfg.Glow(
        EVENT_SHAPE,
        num_levels=2,
        num_steps=2,
        hidden_channels=16,
        memory=memory,
        seed=0,
    )
    log_prob = tfg.glow_distribution(bijector).log_prob

    def of_variables(x: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(log_prob(x))
        return tape.gradient(loss, bijector.trainable_variables)

    return of_variables


def chain() -> LogProb:
    """TFP's own bijectors alone: scales and shifts in a chain."""
    parts = []
    for _ in range(18):
        parts += [tfb.Scale(tf.Variable(1.1)), tfb.Shift(tf.Variable(0.1))]
    base = tfd.Sample(tfd.Normal(0.0, 1.0), EVENT_SHAPE)
    return tfd.TransformedDistribution(base, tfb.Chain(parts)).log_prob


def operations() -> LogProb:
    """No bijector: multiplications one after another."""
    factor = tf.Variable(0.9)

    def log_prob(x: tf.Tensor) -> tf.Tensor:
        for _ in range(437):
            x = x * 2.0
        return tf.reduce_sum(x * factor, axis=[1, 2, 3])

    return log_prob


GRADIENTS = {
    "stored": functools.partial(gradients, "stored"),
    "reversible": functools.partial(gradients, "reversible"),
}
SUBJECTS = {
    "tfp_glow": glow,
    "tfb.Chain": chain,
    "operations": operations,
    **GRADIENTS,
}


def call_eagerly(log_prob: LogProb, count: int) -> None:
    """Calls on tensors that nobody has seen."""
    for i in range(count):
        log_prob(tf.random.stateless_uniform([4, *EVENT_SHAPE], [0, i]))


def retrace_one(log_prob: LogProb, count: int) -> object:
    """Traces one function again for each batch size; returns it."""
    function = tf.function(lambda x: log_prob(x))
    for i in range(count):
        function(tf.zeros([i + 1, *EVENT_SHAPE]))
    if function.experimental_get_tracing_count() != count:
        raise AssertionError("It was not traced anew each time.")
    return function


def trace_and_drop(log_prob: LogProb, count: int) -> None:
    """Traces a new function each time, which nobody keeps."""
    for _ in range(count):
        tf.function(lambda x: log_prob(x))(tf.zeros([4, *EVENT_SHAPE]))


KINDS = {
    "eager calls": call_eagerly,
    "retraces of one function": retrace_one,
    "functions traced and dropped": trace_and_drop,
}


def resident_mb() -> float:
    """The process's memory, in MB of 10^6 bytes."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024 / 1e6


def num_graphs() -> int:
    """How many traced graphs there are."""
    gc.collect()
    return sum(type(thing).__name__ == "FuncGraph" for thing in gc.get_objects())


def measure(subject: str, kind: str, count: int, warm_up: int) -> dict[str, float]:
    """A row of the table: MB and graphs that came with `count` calls or traces."""
    tf.get_logger().setLevel("ERROR")  # It warns of retracing.
    log_prob = SUBJECTS[subject]()
    start = resident_mb()
    KINDS[kind](log_prob, warm_up)
    before, graphs_before = resident_mb(), num_graphs()
    kept = KINDS[kind](log_prob, count)
    row = {"warm-up, MB": before - start, "kept, MB": resident_mb() - before}
    del kept
    row["dropped, MB"] = resident_mb() - before
    row["graphs left"] = num_graphs() - graphs_before
    # One dictionary for the bijectors of a process, private to TFP.
    tfb.Bijector._cache.storage.clear()
    row["graphs left, TFP's cache emptied"] = max(0, num_graphs() - graphs_before)
    return row


def num_operations(subject: str) -> int:
    """Operations in one trace."""
    log_prob = SUBJECTS[subject]()
    x = tf.zeros([4, *EVENT_SHAPE])
    traced = tf.function(lambda x: log_prob(x)).get_concrete_function(x)
    return len(traced.graph.get_operations())


def apart(function: Callable, *arguments: object) -> object:
    """Calls a function in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> int:
    """Runs the subjects, prints a table; 1 if ours grew by more than the bound."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000, help="eager calls")
    parser.add_argument("--retraces", type=int, default=200, help="of either kind")
    parser.add_argument(
        "--bound", type=float, default=50.0, help="MB, for the kinds of ours together"
    )
    parser.add_argument(
        "--controls", action=argparse.BooleanOptionalAction, default=True
    )
    parser.add_argument(
        "--gradients", action="store_true", help="of ours, stored and rebuilt, instead"
    )
    arguments = parser.parse_args()
    grown = 0.0
    headed = False
    subjects, kinds = ["tfp_glow"], list(KINDS)
    if arguments.gradients:
        subjects, kinds = list(GRADIENTS), ["functions traced and dropped"]
    elif arguments.controls:
        subjects += ["tfb.Chain", "operations"]
    for subject in subjects:
        operations = apart(num_operations, subject)
        for kind in kinds:
            count = warm_up = arguments.retraces
            if kind == "eager calls":
                count, warm_up = arguments.calls, 50
            row = apart(measure, subject, kind, count, warm_up)
            if not headed:
                print("| subject, operations | kind | " + " | ".join(row) + " |")
                print("|---" * (len(row) + 2) + "|")
                headed = True
            cells = [f"{subject}, {operations}", f"{count:,} {kind}"]
            cells += [f"{value:.0f}" for value in row.values()]
            print("| " + " | ".join(cells) + " |", flush=True)
            if subject == "tfp_glow":
                grown += max(0.0, row["dropped, MB"])
    if arguments.gradients:
        return 0
    print(
        f"\ntfp_glow grew by {grown:.1f} MB, with nothing kept; "
        f"the bound is {arguments.bound:g} MB."
    )
    return int(grown > arguments.bound)


if __name__ == "__main__":
    sys.exit(main())
