"""Trains a tiny run, killed with SIGKILL again and again, and one that is left alone.

    python tests/cli/killed.py FOLDER NUM_KILLS SEED

The first kill and every other one come while a state is being written: before it is
whole, before it takes the old one's place, or just after. The others come at a random
time. Prints where the state was after each kill, and whether both runs ended in the
same numbers.
"""

import os
import random
import signal
import sys
import threading
from pathlib import Path

import numpy as np

from tfp_glow import GlowModel
from tfp_glow.callbacks import TrainingState
from tfp_glow.callbacks.training_state import read_position
from tfp_glow.cli import main

NEW = "--dataset=digits --limit=192 --epochs=3 --num-levels=1 --num-steps=1".split()
NEW += ["--hidden-channels=4"]
EVERYTHING = ["--save-minutes=1e-9", "--quiet"]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_time(seconds: float) -> None:
    """Counted from the first step, before which TensorFlow traces for seconds."""
    end_batch = TrainingState.on_train_batch_end
    timer = threading.Timer(seconds, kill)

    def end_batch_and_wait(self: TrainingState, batch: int, logs: dict) -> None:
        if not timer.is_alive():
            timer.start()
        end_batch(self, batch, logs)

    TrainingState.on_train_batch_end = end_batch_and_wait


def kill_while_writing(num_saves: int, moment: str) -> None:
    """In one of the saves that come."""
    save, savez, replace = TrainingState.save, np.savez, os.replace
    left = num_saves

    def save_and_count(self: TrainingState) -> None:
        nonlocal left
        left -= 1
        save(self)

    def savez_or_die(file: object, **arrays: np.ndarray) -> None:
        if left == 0 and moment == "half":
            names = list(arrays)
            savez(file, **{n: arrays[n] for n in names[: len(names) // 2]})
            file.flush()
            kill()
        savez(file, **arrays)

    def replace_or_die(source: Path, target: Path) -> None:
        is_state = left == 0 and Path(target).suffix == ".npz"
        if is_state and moment == "before":
            kill()
        replace(source, target)
        if is_state and moment == "after":
            kill()

    TrainingState.save = save_and_count
    np.savez, os.replace = savez_or_die, replace_or_die


def keep_what_fit_leaves(file: Path) -> None:
    fit = GlowModel.fit

    def fit_and_keep(self: GlowModel, *args: object, **kwargs: object) -> object:
        result = fit(self, *args, **kwargs)
        variables = [*self.variables, *self.optimizer.variables]
        with file.open("wb") as opened:
            np.savez(opened, *[v.numpy() for v in variables])
        return result

    GlowModel.fit = fit_and_keep


def run(folder: Path, prepare: object = lambda: None) -> int:
    """Trains in a process of its own, from the beginning or from where it was."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        log = os.open(
            folder.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND
        )
        os.dup2(log, 1)
        os.dup2(log, 2)
        keep_what_fit_leaves(folder.with_suffix(".npz"))
        prepare()
        is_new = not (folder / "config.json").exists()
        what = [f"--output={folder}", *NEW] if is_new else [f"--resume={folder}"]
        os._exit(main(["train", *what, *EVERYTHING]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def values(folder: Path) -> list[np.ndarray]:
    """All weights, slots and averages, and the history but for the speed."""
    with np.load(folder.with_suffix(".npz")) as arrays:
        found = [arrays[name] for name in arrays.files]
    rows = np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
    found += [rows[n] for n in rows.dtype.names if n != "images_per_second"]
    return found


def kill_and_compare() -> int:
    root, num_kills = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(int(sys.argv[3]))
    alone, killed = root / "alone", root / "killed"
    assert run(alone) == 0, (root / "alone.log").read_text()
    for i in range(num_kills):
        moment = rng.choice(["half", "before", "after"])
        if i % 2 == 0:
            num = rng.randint(1, 6)
            status = run(killed, lambda n=num, m=moment: kill_while_writing(n, m))
            what = f"save {num}, {moment}"
        else:
            seconds = rng.uniform(0.0, 1.0)
            status = run(killed, lambda s=seconds: kill_in_time(s))
            what = f"{seconds:.2f} s after the first step"
        print(f"kill {i + 1}: {what}: status {status}", end="; ")
        epoch, batch = read_position(killed / "state.npz")
        print(f"state of epoch {epoch + 1}, batch {batch}")
        if status == 0:
            break
    else:
        assert run(killed) == 0, (root / "killed.log").read_text()
    pairs = list(zip(values(alone), values(killed), strict=True))
    equal = [np.array_equal(a, b) for a, b in pairs]
    print(f"{sum(equal)} of {len(equal)} arrays are equal to the last bit")
    return 0 if all(equal) else 1


if __name__ == "__main__":
    sys.exit(kill_and_compare())
