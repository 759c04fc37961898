"""Aim: a local repository, ``aim up``."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class Aim(Tracker):
    """The run keeps its hash there when it is resumed."""

    package: ClassVar[str] = "aim"

    repository: str = "."
    """Folder of the Aim repository, relative to the working folder."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import AimTracker

        from model_foundry.tracking._accelerate import AccelerateService

        options = {} if run.identity is None else {"run_hash": run.identity}
        tracker = AimTracker(run.name, logging_dir=self.repository, **options)
        return AccelerateService(tracker, run, identify=lambda writer: str(writer.hash))
