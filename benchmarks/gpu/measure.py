"""Measures through TensorFlow itself what `export.py` and `run.py` measure through JAX.

One `tf.function` that XLA compiles; prints a line of JSON of the same entries. Without
a GPU it stops and says how to go on, unless `--anyway` is given.

    python benchmarks/gpu/measure.py --steps 32 --batch 64 --precision bfloat16
"""

import argparse
import json
import time

import tensorflow as tf
from programs import add_options, make_program
from report import MATRIX_SIZE, NUM_PRODUCTS, matrix_rate, median_seconds, summary

NO_GPU = """\
TensorFlow sees no GPU here, so nothing was measured. Where only JAX sees one:
  python benchmarks/gpu/export.py BUNDLE [the same options]    here
  python BUNDLE/run.py    there, with the folder BUNDLE; needs jax
If this machine has a GPU: pip install 'tensorflow[and-cuda]'.
To measure the CPU all the same: --anyway."""


def measured_matrix_rate(size: int) -> float:
    """Operations a second of large products of matrices in bfloat16."""
    matrix = tf.cast(tf.random.normal([size, size]), tf.bfloat16)

    @tf.function(jit_compile=True)
    def multiply(x: tf.Tensor) -> tf.Tensor:
        return x @ x

    def multiply_all() -> None:
        products = [multiply(matrix) for _ in range(NUM_PRODUCTS)]
        products[-1][0, 0].numpy()

    return matrix_rate(multiply_all, size)


def main() -> None:
    """Measures what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    parser.add_argument("--calls", type=int, default=10, help="that are timed")
    parser.add_argument("--anyway", action="store_true", help="also without a GPU")
    options = parser.parse_args()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and not options.anyway:
        parser.exit(1, NO_GPU + "\n")
    device, kind = ("GPU:0", "gpu") if gpus else ("CPU:0", "cpu")
    with tf.device(device):
        program = make_program(options)
        function = tf.function(program.function, jit_compile=True, autograph=False)
        arguments = program.arguments.values()
        results = []

        def call() -> None:
            results.append(function(*arguments).numpy())

        started = time.perf_counter()
        call()
        first_call = time.perf_counter() - started
        seconds = median_seconds(call, options.calls)
        peak = tf.config.experimental.get_memory_info(device)["peak"] if gpus else None
        rate = measured_matrix_rate(MATRIX_SIZE[kind])
    details = tf.config.experimental.get_device_details(gpus[0]) if gpus else {}
    line = {
        **vars(options),
        "device": details.get("device_name", kind),
        "tensorflow": tf.__version__,
        "parameters": program.num_parameters,
        "first_call_seconds": first_call,
        "peak_megabytes": None if peak is None else peak / 1e6,
        **summary(
            call_seconds=seconds,
            num_steps=program.num_steps,
            batch_size=program.batch_size,
            convolution_flops=program.convolution_flops,
            rate=rate,
        ),
    }
    if program.result == "losses":
        line["losses"] = [float(loss) for losses in results for loss in losses]
    print(json.dumps(line))


if __name__ == "__main__":
    main()
