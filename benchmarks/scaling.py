"""What do more workers cost here, and what would 8 and 40 GPUs give?

One, two and three processes on this machine share each batch and sum their gradients
over loopback. They share its cores too, so what is seen is not how much faster many
machines are, but what the sharing costs. The second table is arithmetic.

    python benchmarks/scaling.py
"""

import json
import resource
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from harness import FOLDER, Median, make_parser, report, table, worker_environment
from worker import busy_seconds, cpu_seconds

from tfp_glow.presets import PRESETS, Preset

ARGUMENTS = {
    "event_shape": [32, 32, 3],
    "batch_size": 48,
    "steps": 20,
    "warm_up": 5,
    "model": {"num_levels": 3, "num_steps": 4, "hidden_channels": 128},
}
WORKERS = (1, 2, 3)

# Assumptions of the arithmetic, for cards of 2023 and usual links.
MATRIX_RATE = 989e12
"""Of an H100 in bfloat16, multiplications and additions a second (data sheet)."""
SHARE = 0.4
"""Of that rate, which a step is assumed to reach: an aim, not a measurement."""
NVLINK = 450e9
"""Bytes a second between the GPUs of a machine, in each direction."""
NETWORKS = {"100 Gbit/s": 12.5e9, "400 Gbit/s": 50e9}
"""Bytes a second between machines, in each direction."""
GPUS_OF_A_MACHINE = 8


@dataclass(frozen=True)
class Work:
    """What a model costs: additions and multiplications, and numbers to be summed."""

    operations: int
    parameters: int


def work_of(preset: Preset) -> Work:
    """Of one pass over one image: the convolutions, which are nearly all of it."""
    height, width, channels = preset.event_shape
    hidden = preset.model["hidden_channels"]
    outputs = 1 if preset.model["coupling"] == "additive" else 2
    products = parameters = 0
    for _ in range(preset.model["num_levels"]):
        height, width, channels = height // 2, width // 2, 4 * channels
        kernels = (
            9 * (channels // 2 + 1) * hidden
            + hidden**2
            + 9 * (hidden + 1) * channels // 2 * outputs
        )
        products += preset.model["num_steps"] * height * width * kernels
        parameters += preset.model["num_steps"] * (kernels + 2 * channels**2)
        channels //= 2
    return Work(2 * products, parameters)


def run_cluster(
    workers: int, arguments: dict, script: str = "scaling_worker.py"
) -> list[dict]:
    """Trains with so many processes; what each of them found."""
    sockets = [socket.socket() for _ in range(workers)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    command = [sys.executable, str(FOLDER / script), json.dumps(arguments)]
    processes = []
    for index in range(workers):
        environment = worker_environment()
        if workers > 1:
            task = {"type": "worker", "index": index}
            cluster = {"cluster": {"worker": addresses}, "task": task}
            environment["TF_CONFIG"] = json.dumps(cluster)
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    found = []
    for process in processes:
        output, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"a worker of {workers} failed:\n{errors[-3000:]}")
        found.append(json.loads(output.splitlines()[-1]))
    return found


def own_seconds() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    return cpu_seconds() + cpu_seconds(resource.RUSAGE_CHILDREN)


def measured(rounds: int, arguments: dict) -> tuple[str, list[Median]]:
    """One, two and three workers, in turn."""
    runs: dict[int, list[dict]] = {workers: [] for workers in WORKERS}
    for number in range(rounds):
        for workers in WORKERS:
            started, busy = time.perf_counter(), busy_seconds() - own_seconds()
            cluster = run_cluster(workers, arguments)
            busy = busy_seconds() - own_seconds() - busy
            run = {
                "cpu_seconds": sum(each["cpu_seconds"] for each in cluster),
                "wall_seconds": statistics.mean(
                    each["wall_seconds"] for each in cluster
                ),
                "loss": cluster[0]["loss"],
                "num_parameters": cluster[0]["num_parameters"],
                "cores_of_others": busy / (time.perf_counter() - started),
                "versions": cluster[0]["versions"],
            }
            runs[workers].append(run)
            print(f"round {number + 1}, {workers} workers: {run}", file=sys.stderr)
    medians = {workers: Median(found) for workers, found in runs.items()}
    alone = medians[1]
    rows = [
        [
            workers,
            arguments["batch_size"] // workers,
            found["cpu_seconds"],
            f"{found['cpu_seconds'] / alone['cpu_seconds']:.2f}x",
            found["wall_seconds"],
            0 if workers == 1 else 4 * int(found["num_parameters"]) / 1e6,
            f"{found['loss']:.6f}",
        ]
        for workers, found in medians.items()
    ]
    columns = [
        "workers",
        "images of each",
        "CPU s a step, all",
        "ratio",
        "wall s a step",
        "MB of gradients",
        "last loss",
    ]
    return table(columns, rows), list(medians.values())


def all_reduce_seconds(num_bytes: float, gpus: int, network: float) -> float:
    """Rings: within the machines, then between them with one share of each GPU."""

    def ring(members: int, rate: float) -> float:
        return 2 * (members - 1) / members * num_bytes / rate

    machines = -(-gpus // GPUS_OF_A_MACHINE)
    return ring(min(gpus, GPUS_OF_A_MACHINE), NVLINK) + ring(machines, network)


def arithmetic() -> str:
    """What 8 and 40 GPUs would give of a preset, by the assumptions above."""
    rows = []
    for name, images in [("cifar10", 64), ("celeba-hq-256", 1), ("celeba-hq-256", 8)]:
        work = work_of(PRESETS[name])
        # Activations are rebuilt: one pass more than the three of a stored step.
        seconds = 4 * work.operations * images / (SHARE * MATRIX_RATE)
        for gpus in (1, 8, 40):
            networks = NETWORKS if gpus > GPUS_OF_A_MACHINE else {"": NVLINK}
            for network, rate in networks.items():
                reduce = all_reduce_seconds(4 * work.parameters, gpus, rate)
                rows.append(
                    [
                        f"{name}, {images} a GPU",
                        gpus,
                        network,
                        1e3 * seconds,
                        1e3 * reduce,
                        gpus * images / (seconds + reduce),
                        f"{seconds / (seconds + reduce):.0%}",
                    ]
                )
    columns = [
        "preset",
        "GPUs",
        "between machines",
        "step, ms",
        "sum of gradients, ms",
        "images a second",
        "of so many single GPUs",
    ]
    return table(columns, rows)


def main() -> None:
    """Measures the first table, computes the second, and prints both."""
    arguments = make_parser(__doc__, rounds=3).parse_args()
    rounds, task = arguments.rounds, ARGUMENTS
    if arguments.quick:
        small = {"num_levels": 1, "num_steps": 1, "hidden_channels": 8}
        rounds, task = 1, {**task, "steps": 2, "warm_up": 1, "model": small}
    found, medians = measured(rounds, task)
    report("scaling", [found, arithmetic()], medians, write=arguments.write)


if __name__ == "__main__":
    main()
