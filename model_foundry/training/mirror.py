"""A thread that copies published checkpoints elsewhere; whatever fails there is a warning, never an error."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from model_foundry.training.remote import Remote

log = logging.getLogger(__name__)

PAUSES = (1.0, 5.0, 25.0)
"""Seconds before the second, third and last attempt to copy a checkpoint."""


class Mirror:
    """Copies checkpoints in the order in which they were published.

    Args:
        remote: Where to.
        event: Writes a line into the run's events; called from the thread.
        pauses: Seconds between attempts.
    """

    def __init__(
        self, remote: Remote, event: Callable[..., None], *, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        self._remote = remote
        self._event = event
        self._pauses = pauses
        self._queue: queue.SimpleQueue[Path | None] = queue.SimpleQueue()
        self._leave = threading.Event()
        # A daemon: a file system that hangs must not keep the process.
        self._thread = threading.Thread(target=self._work, name="checkpoint mirror", daemon=True)

    def start(self, earlier: Iterable[Path] = ()) -> None:
        """Begin, with checkpoints that an earlier process may not have copied."""
        for path in earlier:
            self._queue.put(path)
        self._thread.start()

    def add(self, checkpoint: Path) -> None:
        """Copy a checkpoint when its turn comes; returns at once."""
        self._queue.put(checkpoint)

    def close(self, seconds: float) -> None:
        """Wait so long for what is to be copied still; the next start of the run copies what is left."""
        self._queue.put(None)
        self._thread.join(seconds)
        self._leave.set()
        if self._thread.is_alive():
            log.warning(
                "%s: not all checkpoints were copied within %.0f s; the next start of the run goes on",
                self._remote.address,
                seconds,
            )

    def _work(self) -> None:
        while (path := self._queue.get()) is not None and not self._leave.is_set():
            try:
                self._copy(path)
            except Exception as error:  # the thread must outlive whatever a file system can raise
                log.warning("%s was not copied to %s: %s", path.name, self._remote.address, error)

    def _copy(self, path: Path) -> None:
        began = time.monotonic()
        for attempt, pause in enumerate((*self._pauses, None), start=1):
            try:
                self._remote.put(path)
            except Exception as error:
                if not path.is_dir():
                    log.info("%s was pruned before it was copied", path.name)
                    return
                if pause is None:
                    facts: dict[str, Any] = {"attempts": attempt, "message": str(error)}
                    log.warning(
                        "%s was not copied to %s in %d attempts: %s; training goes on",
                        path.name,
                        self._remote.address,
                        attempt,
                        error,
                    )
                    self._event("mirror_failed", name=path.name, to=self._remote.address, **facts)
                    return
                log.info("%s could not be copied (attempt %d): %s", path.name, attempt, error)
                if self._leave.wait(pause):
                    return
            else:
                seconds = round(time.monotonic() - began, 3)
                self._event("mirrored", name=path.name, to=self._remote.address, seconds=seconds)
                return
