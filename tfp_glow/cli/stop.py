"""Ctrl-C and SIGTERM end a training between two steps, with a saved state."""

import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType

import keras

from tfp_glow.callbacks import TrainingState
from tfp_glow.cli.run_folder import resume_command

__all__ = ["StopOnSignal", "Stopped"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Training was stopped by a signal, and its state is saved.

    Attributes:
        exit_status: What the process ends with: 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(f"stopped by signal {number}")
        self.exit_status = 128 + number


class StopOnSignal(keras.callbacks.Callback):
    """Waits for the end of a step when a signal comes, saves, and raises `Stopped`.

    It is a context too, in which alone signals wait; a second one does not. In a list
    of callbacks it comes behind the `TrainingState`.
    """

    def __init__(self, state: TrainingState, folder: Path) -> None:
        """Takes what saves.

        Args:
            state: The callback of the same `fit`.
            folder: The run folder, for the message.
        """
        super().__init__()
        self._state = state
        self._folder = folder
        self._received: int | None = None

    def __enter__(self) -> "StopOnSignal":
        """Makes signals wait; in a thread that is not the main one it cannot.

        Those that are ignored stay so, as a shell wants of a command behind `&`.
        """
        is_main = threading.current_thread() is threading.main_thread()
        signals = _SIGNALS if is_main else ()
        self._before = {
            s: signal.signal(s, self._wait)
            for s in signals
            if signal.getsignal(s) not in (signal.SIG_IGN, None)
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Lets signals do what they did before; the last step has no next to stop."""
        self._restore()
        if self._received is not None and error is None:
            print(
                "Training had come to its end: what else there is to do is done now. "
                "Another signal ends that.",
                file=sys.stderr,
            )

    def on_train_batch_begin(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Stops before the batch, as where a signal came while an epoch began."""
        self._stop()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Stops after the batch, but for the last one: an epoch's end saves anyway."""
        if self._state.batch < self.params["steps"]:
            self._stop()

    def _wait(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = number
        self._restore()
        print("\nStopping after this step ...", file=sys.stderr, flush=True)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self) -> None:
        if self._received is None:
            return
        self._state.save()
        print(
            f"Stopped in epoch {self._state.epoch + 1}, after {self._state.batch} of "
            f"{self.params['steps']} steps. Go on with:\n"
            f"  {resume_command(self._folder)}",
            file=sys.stderr,
        )
        raise Stopped(self._received)
