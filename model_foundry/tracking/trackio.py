"""Trackio: local first, a page that looks like wandb's."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class Trackio(Tracker):
    """The run keeps its name there when it is resumed."""

    package: ClassVar[str] = "trackio"

    project: str = "model-foundry"
    """Project that the run is filed under."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import TrackioTracker

        from model_foundry.tracking._accelerate import AccelerateService

        return AccelerateService(TrackioTracker(self.project, name=run.name, resume="allow"), run)
