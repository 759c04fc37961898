"""Requests to stop: signals, a file that people put into the run, and the time that the recipe allows.

The first signal only sets a flag, which the loop reads at update boundaries, agrees on with all ranks, saves
and leaves. A second one ends the process at once, even while the main thread waits in a collective: a thread
of its own is told of every signal. Launchers pass a signal on that the whole group has received already, so
repetitions within ``SAME_REQUEST_SECONDS`` are the same request.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from model_foundry.errors import Preempted
from model_foundry.parent_death import end_with_parent

SAME_REQUEST_SECONDS = 2.0
GRACE_SECONDS = 25.0
"""How long a launcher is assumed to wait: torchrun kills after 30 s (``PET_SHUTDOWN_TIMEOUT`` sets it)."""

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PARENT_DEATH = signal.SIGUSR2
"""Not one of those three: the launcher often dies of the signal that this process was sent, too."""

_LAUNCHER, _TIME, _FILE = "the end of its launcher", "max_time", "control/stop"
REASONS = (*(number.name for number in _SIGNALS), _LAUNCHER, _TIME, _FILE)
"""Every reason that there is; processes tell each other its place in this list."""

_SAVING = "saving after this update, then leaving; a second signal ends the run at once"
_LEAVE = b"\0"
"""Tells the listener to end; no signal has this number."""


class StopRequest:
    """Whether, and why, this process was asked to stop.

    Args:
        control: The run's control folder; a file ``stop`` in it is a request.
        max_seconds: Time that training may take, or None.
        rank: Number of this process in its group.
        processes: Size of the group.
    """

    def __init__(
        self, control: Path, max_seconds: float | None, *, rank: int = 0, processes: int = 1
    ) -> None:
        self._control = control
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._rank, self._processes = rank, processes
        self._signal: str | None = None
        self._asked_at: float | None = None
        self._is_settled = False
        self._previous: dict[int, object] = {}
        self._previous_wakeup = -1
        self._listener: threading.Thread | None = None
        self._write_end = -1

    def install(self) -> None:
        """Take over the signals; outside the main thread the caller keeps its own handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        with suppress(OSError):  # no such folder yet, or nothing left by an earlier run
            self._note(self._rank).unlink(missing_ok=True)
        read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._write_end)
        self._listener = threading.Thread(target=self._listen, args=(read_end,), daemon=True)
        self._listener.start()
        for number in (*_SIGNALS, _PARENT_DEATH):
            self._previous[number] = signal.signal(number, self._handle)

    def uninstall(self) -> None:
        """Give the signals back."""
        if self._listener is None:
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
        self._previous.clear()
        signal.set_wakeup_fd(self._previous_wakeup)
        # Processes forked meanwhile hold the pipe open, so its end would not be noticed: a word is sent.
        os.write(self._write_end, _LEAVE)
        self._listener.join()
        os.close(self._write_end)
        self._listener = None

    @property
    def reason(self) -> str | None:
        """Why this process was asked to stop, or None."""
        asked_at = time.monotonic() if self._asked_at is None else self._asked_at
        if self._deadline is not None and asked_at >= self._deadline:
            return _TIME  # a launcher ends the others by a signal when the first of them leaves in time
        if self._signal is not None:
            return self._signal
        return _FILE if (self._control / "stop").exists() else None

    @property
    def is_asked_anywhere(self) -> bool:
        """Whether this or another process of the group was asked, as far as is known without waiting."""
        others = (self._note(rank) for rank in range(self._processes) if rank != self._rank)
        return self.reason is not None or any(note.exists() for note in others)

    @property
    def reason_anywhere(self) -> str:
        """Why the group was asked to stop, as far as is known without waiting."""
        if self.reason is not None:
            return self.reason
        for rank in range(self._processes):
            with suppress(OSError):
                if signal_name := self._note(rank).read_text():
                    return self.told(signal_name, rank)
        return "a request to another process"

    @staticmethod
    def told(reason: str, rank: int) -> str:
        """Return how a process names the reason of another one."""
        return reason if reason in (_TIME, _FILE) else f"{reason} to rank {rank}"

    @property
    def wants_checkpoint(self) -> bool:
        """Whether a person put a file ``checkpoint`` into the control folder."""
        return (self._control / "checkpoint").exists()

    def checkpoint_was_made(self) -> None:
        """Remove that file: its wish is fulfilled."""
        (self._control / "checkpoint").unlink(missing_ok=True)

    @property
    def seconds_since_asked(self) -> float:
        """How long ago the first signal came; 0 where none did."""
        return 0.0 if self._asked_at is None else time.monotonic() - self._asked_at

    def obey(self, reason: str, outcome: str) -> Preempted:
        """Return the error that ends the run as asked; further requests no longer matter.

        Args:
            reason: Who asked.
            outcome: When it stopped and what is saved.
        """
        self._is_settled = True
        for path in (self._control / "stop", self._note(self._rank)):
            with suppress(OSError):  # a control folder that cannot be written shall not hide the outcome
                path.unlink(missing_ok=True)
        return Preempted(f"stopped by {reason} {outcome}", asked_by=reason)

    def _note(self, rank: int) -> Path:
        return self._control / f"rank{rank}.stop"

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._ask(number)

    def _ask(self, number: int) -> None:
        if self._signal is None:
            self._asked_at = time.monotonic()
            self._signal = _LAUNCHER if number == _PARENT_DEATH else signal.Signals(number).name

    def _listen(self, read_end: int) -> None:
        is_told = is_shown = False
        numbers = b""
        while _LEAVE not in numbers:
            numbers = os.read(read_end, 64)
            for number in numbers:
                if number not in (*_SIGNALS, _PARENT_DEATH):
                    continue
                self._ask(number)
                if not is_shown and not self._is_settled and self._rank == 0:
                    is_shown = True
                    with suppress(OSError):  # the screen is gone
                        os.write(2, f"{self._signal}: {_SAVING}\n".encode())
                if number != _PARENT_DEATH and self._is_second():
                    os.write(2, f"ended at once by a second signal, {signal.Signals(number).name}\n".encode())
                    os._exit(128 + number)
            if self._processes > 1 and self._signal is not None and not is_told:
                is_told = True
                with suppress(OSError):
                    self._note(self._rank).write_text(self._signal)
        os.close(read_end)

    def _is_second(self) -> bool:
        return not self._is_settled and self.seconds_since_asked > SAME_REQUEST_SECONDS


def die_with_parent() -> None:
    """Ask for a signal when the launcher dies, so that no worker is left behind.

    Only where there is a launcher: a run that a shell started with ``nohup`` outlives that shell.
    """
    if "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ:
        end_with_parent(_PARENT_DEATH)
