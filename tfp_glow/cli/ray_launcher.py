"""`tfp-glow train --strategy ray`: when a worker is lost, all start again and go on."""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from tfp_glow.cli.run_folder import STATE

__all__ = ["launch"]

# A second attempt would end as the first one did.
_FINAL = (
    ImportError,
    NotImplementedError,
    TypeError,
    ValueError,
    FileExistsError,
    FileNotFoundError,
    PermissionError,
)


def launch(arguments: argparse.Namespace) -> None:
    """Trains with `--strategy multi-worker` in workers of Ray Train.

    They belong to the cluster that is there (of `RAY_ADDRESS`, or one that was started
    on this machine), or else to one of this machine that lasts as long as the training.

    Args:
        arguments: The options of `tfp-glow train`.

    Raises:
        ConnectionError: If workers were lost more often than `--max-failures` says.
        FileNotFoundError: If a worker does not see the folder of the run.
        ImportError: If Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # or it would report to its makers
    # What workers print is shown as it is, and not as messages of a log.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")
    try:
        from ray.train import WorkerGroupError
    except ImportError as error:
        raise ImportError(
            f"--strategy ray needs `ray`, which cannot be imported ({error}). Install "
            'it with: pip install "tfp-glow[ray]"'
        ) from error

    options = argparse.Namespace(**vars(arguments))
    options.strategy = "multi-worker"
    options.quiet = True  # A progress bar would be a line of the log for each step.
    options.resume = options.resume and options.resume.absolute()
    options.output = options.output and options.output.absolute()
    run = options.resume or options.output
    before = None if options.resume else _time_of_config(run)
    with _cluster(options.num_workers), _folder_beside(run) as beside:
        for num_failures in range(options.max_failures + 1):
            try:
                _fit(options, beside)
                return
            except WorkerGroupError as error:
                lost = error
            for error in lost.worker_failures.values():
                if isinstance(error, _FINAL):
                    raise error from lost
            if _time_of_config(run) != before:  # The folder holds this training.
                if (run / "metrics.json").exists() and not (run / STATE).exists():
                    return  # Nothing was left to do but to take leave.
                options.overwrite = True
                options.resume = run if (run / STATE).exists() else None
            reasons = _reasons(lost.worker_failures)
            if num_failures < options.max_failures:
                how = "from the beginning"
                if options.resume is not None:
                    how = f"and go on with {run}"
                _say(
                    f"Lost a worker. All start again, {how} ({num_failures + 1} of at "
                    f"most {options.max_failures} times). {reasons}"
                )
    again = f" with --resume {quote(str(run))}" if options.resume else ""
    raise ConnectionError(
        f"Workers were lost {num_failures + 1} times, and --max-failures is "
        f"{options.max_failures}. When what ails them is mended, start again{again}. "
        f"{reasons}"
    )


def _reasons(failures: Mapping[int, Exception]) -> str:
    """The first line of what is known of each worker that failed."""
    return " ".join(
        f"Worker {rank}: {str(error).strip().splitlines()[0]}"
        for rank, error in failures.items()
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _time_of_config(run: Path) -> int | None:
    """When a training began in a folder; None where none did."""
    file = run / "config.json"
    return file.stat().st_mtime_ns if file.exists() else None


@contextmanager
def _folder_beside(run: Path) -> Iterator[Path]:
    """A folder for Ray, by which a worker can tell whether it sees the run."""
    run.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ray-", dir=run.parent) as folder:
        yield Path(folder)


@contextmanager
def _cluster(num_workers: int) -> Iterator[None]:
    """The cluster that is there, or one of this machine with room for all workers."""
    import ray

    # Without Ray's dashboard there is a warning each second that it is missing.
    quiet = {
        "logging_level": "warning",
        "logging_config": ray.LoggingConfig(log_level="ERROR"),
    }
    try:
        if os.environ.get("RAY_ADDRESS") == "local":
            raise ConnectionError  # Asked for; `auto` would make one of other options.
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(
            address="local",
            num_cpus=num_workers,
            include_dashboard=False,
            object_store_memory=2**27,  # Nothing is kept in it.
            **quiet,
        )
    try:
        yield
    finally:
        ray.shutdown()


def _fit(options: argparse.Namespace, beside: Path) -> None:
    import ray
    from ray.train import LoggingConfig, RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    there = ray.cluster_resources()
    if there.get("CPU", 0) < options.num_workers:
        _say(
            f"The cluster has {there.get('CPU', 0):g} CPUs. Waiting until it has "
            f"{options.num_workers}, one for each worker ..."
        )
    TensorflowTrainer(
        _work,
        train_loop_config={
            "options": options,
            "beside": beside,
            "directory": Path.cwd(),
        },
        scaling_config=ScalingConfig(
            num_workers=options.num_workers,
            use_gpu=there.get("GPU", 0) >= options.num_workers,
        ),
        run_config=RunConfig(
            storage_path=str(beside), logging_config=LoggingConfig(log_level="WARNING")
        ),
    ).fit()


def _work(config: dict[str, argparse.Namespace | Path]) -> None:
    """What each worker does, with `TF_CONFIG` set by Ray."""
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray sets it; this is Keras 3.
    if not config["beside"].is_dir():
        raise FileNotFoundError(
            f"A worker does not see {config['beside'].parent}: the run folder has to "
            "be on a file system that this machine and all workers share."
        )
    if config["directory"].is_dir():  # Relative paths of data are relative to it.
        os.chdir(config["directory"])
    logging.getLogger("tensorflow").setLevel("ERROR")
    own = logging.getLogger("tfp_glow")
    own.setLevel("WARNING")
    own.addHandler(logging.StreamHandler())
    from tfp_glow.cli.train import run

    run(config["options"])
