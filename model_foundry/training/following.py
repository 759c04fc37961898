"""Trackers beside a run, each in a thread of its own: one that fails or hangs costs the run nothing."""

from __future__ import annotations

import json
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from model_foundry.errors import RecipeError
from model_foundry.manifest import write_atomically
from model_foundry.tracking import TrackedRun, Tracker

log = logging.getLogger(__name__)

THREAD_NAME = "tracker"
GRACE_SECONDS = 10.0  # below what a launcher waits for after a signal
_MOST_WAITING = 4096
_FILE = "tracking.json"


def require_packages(trackers: Sequence[Tracker]) -> None:
    """Refuse trackers whose package is not installed, before anything is trained.

    Raises:
        RecipeError: Naming what to install.
    """
    for tracker in trackers:
        if find_spec(tracker.package) is None:
            raise RecipeError(
                f"tracking: {tracker.part_name()} needs the package {tracker.package}, which is not "
                f"installed. Run: pip install {tracker.package}. metrics.jsonl and report.html need none."
            )


class Followers:
    """Passes the lines of ``metrics.jsonl`` on to trackers; never waits for one, never raises.

    A tracker that fails is told of once and left alone from then on; of one that does not keep up the newest
    lines are dropped and counted. ``metrics.jsonl`` has everything.

    Args:
        trackers: What the recipe asks for.
        run: What they are told of the run.
        tell: Called with the kind and facts of an event, from any thread.
        grace_seconds: How long all of them together may take to finish.
    """

    def __init__(
        self,
        trackers: Sequence[Tracker],
        run: TrackedRun,
        tell: Callable[..., None],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._grace_seconds = grace_seconds
        self._followers = [_Follower(tracker, run, tell) for tracker in trackers]

    def log(self, line: dict[str, Any]) -> None:
        """Pass on the numbers of a line; those that are not finite are left out."""
        update = int(line["update"])
        values = {
            key: float(value)
            for key, value in line.items()
            if key not in ("update", "time") and isinstance(value, int | float) and math.isfinite(value)
        }
        for follower in self._followers:
            follower.put((values, update))

    def close(self) -> None:
        """Let the trackers finish, for a stated while at most."""
        deadline = time.monotonic() + self._grace_seconds
        for follower in self._followers:
            follower.put(None)
        for follower in self._followers:
            follower.join(deadline)


class _Follower:
    def __init__(self, tracker: Tracker, run: TrackedRun, tell: Callable[..., None]) -> None:
        self._name, self._tracker, self._run, self._tell = tracker.part_name(), tracker, run, tell
        self._lines: queue.Queue[tuple[dict[str, float], int] | None] = queue.Queue(_MOST_WAITING)
        self._dropped = 0
        self._thread = threading.Thread(target=self._follow, name=f"{THREAD_NAME}-{self._name}", daemon=True)
        self._thread.start()

    def put(self, item: tuple[dict[str, float], int] | None) -> None:
        if not self._thread.is_alive():
            return
        try:
            self._lines.put_nowait(item)
        except queue.Full:
            self._dropped += 1

    def join(self, deadline: float) -> None:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._say("it does not answer and is left behind")
        if self._dropped:
            self._say(f"{self._dropped} lines were not shown there: it did not keep up")

    def _follow(self) -> None:
        try:
            known = _read(self._run.folder / _FILE)
            service = self._tracker.open(replace(self._run, identity=known.get(self._name)))
            if service.identity is not None:
                known = _read(self._run.folder / _FILE) | {self._name: service.identity}
                write_atomically(self._run.folder / _FILE, json.dumps(known, indent=2) + "\n")
            while (item := self._lines.get()) is not None:
                service.log(*item)
            service.finish()
        except BaseException as error:  # whatever a service raises, SystemExit included: the run goes on
            self._say(f"{type(error).__name__}: {error}")

    def _say(self, what: str) -> None:
        log.warning("tracker %s: %s. The run goes on; metrics.jsonl has everything.", self._name, what)
        self._tell("tracker_failed", tracker=self._name, message=what)


def is_one_left_behind() -> bool:
    """Whether a tracker's thread is still at work, so that the interpreter's own end might wait for it."""
    return any(thread.name.startswith(THREAD_NAME) for thread in threading.enumerate())


def _read(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
