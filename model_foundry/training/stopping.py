"""Requests to stop: signals, a file that people put into the run, and the time that the recipe allows.

Handlers only set a flag; the loop reads it at update boundaries, agrees on it with all ranks, saves and
leaves.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_PR_SET_PDEATHSIG = 1


class StopRequest:
    """Whether, and why, this process was asked to stop.

    Args:
        control: The run's control folder; a file ``stop`` in it is a request.
        max_seconds: Time that training may take, or None.
    """

    def __init__(self, control: Path, max_seconds: float | None) -> None:
        self._file = control / "stop"
        self._deadline = None if max_seconds is None else time.monotonic() + max_seconds
        self._signal: str | None = None
        self._previous: dict[int, object] = {}

    def install(self) -> None:
        """Take over the signals; a second one ends the process at once."""
        for number in _SIGNALS:
            with suppress(ValueError):  # not the main thread: the caller keeps its own handlers
                self._previous[number] = signal.signal(number, self._note)

    def uninstall(self) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = signal.Signals(number).name

    @property
    def reason(self) -> str | None:
        """Why to stop, or None."""
        if self._signal is not None:
            return self._signal
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "max_time"
        return "control/stop" if self._file.exists() else None

    def acknowledge(self) -> None:
        """Remove the file, so that a resumed run does not stop again."""
        self._file.unlink(missing_ok=True)


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the launcher dies, so that no worker is left behind (Linux)."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6", use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
