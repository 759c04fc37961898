"""Comet; its key comes from the environment, never from a recipe."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class Comet(Tracker):
    """The experiment is continued when the run is resumed."""

    package: ClassVar[str] = "comet_ml"

    project: str = "model-foundry"
    """Project that the run is filed under."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import CometMLTracker

        from model_foundry.tracking._accelerate import AccelerateService

        options = {} if run.identity is None else {"experiment_key": run.identity}
        tracker = CometMLTracker(self.project, **options)
        return AccelerateService(tracker, run, identify=lambda experiment: str(experiment.get_key()))
