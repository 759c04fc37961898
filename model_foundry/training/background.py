"""A thread that publishes a checkpoint while training goes on: one at a time, failures kept for the loop."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Writer:
    """Runs one job beside the main thread.

    The job takes part in no collective, so it needs no process group of its own.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the last job failed and nobody was told yet."""
        return self._error is not None

    def begin(self, job: Callable[[], None]) -> None:
        """Start a job; the one before it was waited for."""
        assert self._thread is None, "one save at a time"
        self._thread = threading.Thread(target=self._run, args=(job,), name="checkpoint writer")
        self._thread.start()

    def wait(self) -> None:
        """Wait for the job that is under way, if any, and raise what it failed with."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def close(self) -> None:
        """Wait for the job, where something else ends the run already: a failure is said in the log."""
        try:
            self.wait()
        except Exception as error:
            log.error("the checkpoint that was being written is lost: %s", error)

    def _run(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:
            self._error = error
