"""A training that is stopped, killed or out of room goes on as if it had not been."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from killed import NEW, keep_what_fit_leaves, values

from tfp_glow import GlowModel
from tfp_glow._files import replacing
from tfp_glow.callbacks import TrainingState
from tfp_glow.callbacks.training_state import read_position
from tfp_glow.cli import main
from tfp_glow.cli import train as train_command
from tfp_glow.cli.run_folder import locked, telling_what_is_left
from tfp_glow.cli.stop import StopOnSignal

# A run that is left alone, and one that is killed while it replaces its second state.
ALONE_AND_KILLED = """
import sys
from pathlib import Path

from killed import kill_while_writing, run

root = Path(sys.argv[1])
print(run(root / "alone"), run(root / "run", lambda: kill_while_writing(3, "before")))
"""


def train(folder: Path, *options: str) -> int:
    new = [*NEW, f"--output={folder}", "--save-minutes=1e-9", "--quiet"]
    return main(["train", *new, *options])


def resume(folder: Path, *options: str) -> int:
    return main(["train", f"--resume={folder}", "--quiet", *options])


@pytest.fixture
def on_save(monkeypatch):
    """Calls a function instead of the n-th save."""
    save = TrainingState.save

    def on_save(num: int, function) -> None:
        left = num

        def save_or_call(self) -> None:
            nonlocal left
            left -= 1
            function() if left == 0 else save(self)

        monkeypatch.setattr(TrainingState, "save", save_or_call)

    return on_save


def test_killed_and_stopped_it_ends_in_the_same_numbers(
    tmp_path, on_save, capsys, monkeypatch
):
    """Twice from the middle of an epoch, and once from its end, as if without a stop.

    A signal in the very last step stops nothing: all is trained.

    Killed in the first epoch, in a process of its own; then stopped by signals here.
    """
    one_thread = {f"TF_NUM_{kind}_THREADS": "1" for kind in ("INTEROP", "INTRAOP")}
    done = subprocess.run(
        [sys.executable, "-c", ALONE_AND_KILLED, str(tmp_path)],
        cwd=Path(__file__).parent,
        env=os.environ | one_thread,  # as here
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("0 -9\n")
    whole, folder = tmp_path / "alone", tmp_path / "run"
    assert read_position(folder / "state.npz") == (0, 1)

    on_save(4, lambda: os.kill(os.getpid(), signal.SIGINT))  # in the middle of an epoch
    handler = signal.getsignal(signal.SIGINT)
    assert resume(folder, "--save-minutes=1e-9") == 130
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) == handler
    printed = capsys.readouterr()
    assert "Going on in epoch 1, after 1 steps of it" in printed.out
    assert "Stopped in epoch 2, after 2 of 3 steps" in printed.err
    assert f"tfp-glow train --resume {folder}" in printed.err
    assert not (folder / "metrics.json").exists()
    assert (folder / "model.keras").exists()  # there was an epoch already

    end = StopOnSignal.on_train_batch_end

    def signal_before_end(self, batch: int, logs: object = None) -> None:
        self._received = signal.SIGINT  # There is one step left of the epoch.
        monkeypatch.undo()
        end(self, batch, logs)

    monkeypatch.setattr(StopOnSignal, "on_train_batch_end", signal_before_end)
    assert resume(folder) == 130
    assert "Going on in epoch 2, after 2 steps of it" in capsys.readouterr().out
    assert read_position(folder / "state.npz") == (2, 0)

    def signal_in_the_last_step(self, batch: int, logs: object = None) -> None:
        if (self._state.epoch, self._state.batch) == (2, 3):
            os.kill(os.getpid(), signal.SIGINT)
        end(self, batch, logs)

    monkeypatch.setattr(StopOnSignal, "on_train_batch_end", signal_in_the_last_step)
    monkeypatch.setattr(GlowModel, "fit", GlowModel.fit)  # put back in the end
    keep_what_fit_leaves(folder.with_suffix(".npz"))
    assert resume(folder) == 0
    assert "Training had come to its end" in capsys.readouterr().err
    for ours, theirs in zip(values(folder), values(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in whole.iterdir())
    assert resume(folder) == 1
    assert "has come to its end" in capsys.readouterr().err


def test_a_full_disk_leaves_the_last_state(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    savez = np.savez
    left = 3

    def full(file, **arrays) -> None:
        nonlocal left
        left -= 1
        if not left:
            file.write(b"the beginning")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", full)
    assert train(folder) == 1
    error = capsys.readouterr().err
    assert "cannot be written" in error
    assert "No space left on device; the last one, of epoch 1, batch 1, is" in error
    assert not list(folder.glob(".partial-*"))
    assert read_position(folder / "state.npz") == (0, 1)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("has_state", [True, False])
def test_a_disk_without_room_for_another_file(tmp_path, has_state):
    (tmp_path / "history.csv").write_text("before")
    if has_state:
        (tmp_path / "state.npz").touch()

    @telling_what_is_left(tmp_path)
    def write() -> None:
        with replacing(tmp_path / "history.csv"), open("/dev/full", "w") as full:
            full.write("after")

    with pytest.raises(OSError, match="No space left on device") as raised:
        write()
    assert "history.csv" in str(raised.value)
    assert ("--resume" in str(raised.value)) == has_state
    assert (tmp_path / "history.csv").read_text() == "before"


def test_a_folder_that_is_removed_meanwhile(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    write_results = train_command.write_results

    def remove_and_write(*arguments) -> None:
        shutil.rmtree(folder)
        write_results(*arguments)

    monkeypatch.setattr(train_command, "write_results", remove_and_write)
    assert train(folder, "--epochs=1") == 1
    assert f"{folder} was removed or renamed while" in capsys.readouterr().err
    assert not folder.exists()


def test_two_trainings_in_one_folder(tmp_path, capsys, on_save):
    folder = tmp_path / "run"
    with locked(folder):
        assert train(folder, "--overwrite") == 1
        assert "Another training is writing to" in capsys.readouterr().err
        (folder / "config.json").write_text("{}")
    # One that began in the meantime.
    folder = tmp_path / "other"
    status = []

    def begin_another() -> None:
        again = (folder, "--overwrite")
        other = threading.Thread(target=lambda: status.append(train(*again)))
        other.start()
        other.join()
        raise OSError("enough")

    on_save(1, begin_another)
    assert train(folder) == 1
    assert status == [1]
    assert "Another training is writing to" in capsys.readouterr().err


@pytest.mark.parametrize("has_ended", [True, False])
def test_another_began_while_this_one_made_ready(
    tmp_path, monkeypatch, capsys, has_ended
):
    folder = tmp_path / "run"
    new_run = train_command.new_run
    with ExitStack() as other:

        def new_run_beside_another(*args) -> tuple:
            other.enter_context(locked(folder))
            (folder / "config.json").write_text("of the other")
            if has_ended:
                other.close()
            return new_run(*args)

        monkeypatch.setattr(train_command, "new_run", new_run_beside_another)
        assert train(folder) == 1
    expected = "is not empty" if has_ended else "Another training is writing to"
    assert expected in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert (folder / "config.json").read_text() == "of the other"


def test_stopped_before_its_first_step_and_what_it_does_not_go_on_with(
    tmp_path, on_save, capsys, monkeypatch
):
    folder = tmp_path / "run"
    on_save(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    handler = signal.getsignal(signal.SIGTERM)
    assert train(folder) == 143
    assert signal.getsignal(signal.SIGTERM) == handler
    monkeypatch.undo()
    again = f"tfp-glow train --resume {folder}"
    error = capsys.readouterr().err
    assert "Stopped in epoch 1, after 0 of 3 steps" in error
    assert again in error
    # It is not replaced unasked.
    assert train(folder) == 1
    assert again in capsys.readouterr().err

    file = folder / "config.json"
    config = json.loads(file.read_text())

    def error_with(**changes) -> str:
        file.write_text(json.dumps(config | changes))
        assert resume(folder) == 1
        return capsys.readouterr().err

    assert "was begun by tfp_glow 0.0.1" in error_with(tfp_glow_version="0.0.1")
    model = config["model"] | {"hidden_channels": 5}
    error = error_with(model=model)
    assert "is of another model or optimizer" in error
    assert "has shape [1, 3, 3, 3, 4] (float32) in it, and here" in error
    model = config["model"] | {"num_levels": 2}
    assert "is of another model or optimizer" in error_with(model=model)
    model = config["model"] | {"event_shape": [16, 16, 1]}
    assert "Name another data set" in error_with(model=model)
    content = (folder / "state.npz").read_bytes()
    (folder / "state.npz").write_bytes(content[: len(content) // 2])
    assert "is no state of a training, or is damaged" in error_with()
    assert resume(tmp_path) == 1
    assert "is no run folder" in capsys.readouterr().err


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopOnSignal(TrainingState(tmp_path / "state.npz"), tmp_path)
    try:
        with stop:
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) == stop._wait
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_options_are_those_of_the_run(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--resume=run", "--epochs=3", "--seed=1", "--quiet"])
    assert "leave --epochs, --seed out" in capsys.readouterr().err.replace(
        "--seed, --epochs", "--epochs, --seed"
    )
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--dataset=digits"])
    assert "required: --output (or --resume)" in capsys.readouterr().err
