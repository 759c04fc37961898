"""Where the time of updates goes: data, forward, backward, optimizer, and the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

Phase = Literal["data", "forward", "backward", "optimizer", "other"]

PHASES: tuple[Phase, ...] = ("data", "forward", "backward", "optimizer", "other")
"""In the order of an update; ``other`` is what lies between them."""


class Phases:
    """A clock that is always in one phase of an update, or stopped.

    It reads the time of the host and never waits for a device. An accelerator works on while the host goes
    on, so there the host's wait for the gradient's norm, in ``optimizer``, holds most of the device's time.

    Args:
        clock: Seconds; ``time.perf_counter`` where not given.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._phase: Phase | None = None
        self._since = 0.0
        self._follower: Callable[[Phase | None], None] | None = None

    def follow(self, follower: Callable[[Phase | None], None] | None) -> None:
        """Tell ``follower`` of each phase that begins, until told otherwise."""
        self._follower = follower

    def enter(self, phase: Phase | None) -> None:
        """End the phase that goes on and begin another one; None stops the clock."""
        now = self._clock()
        if self._phase is not None:
            self._seconds[self._phase] += now - self._since
        if self._follower is not None and phase != self._phase:
            self._follower(phase)
        self._phase, self._since = phase, now

    def read(self) -> dict[str, float]:
        """Return the seconds of each phase since the last reading, by their keys in ``metrics.jsonl``.

        What goes on is counted up to now, and its rest at the next reading.
        """
        self.enter(self._phase)
        seconds = {f"{phase}_seconds": took for phase, took in self._seconds.items()}
        self._seconds = dict.fromkeys(PHASES, 0.0)
        return seconds
