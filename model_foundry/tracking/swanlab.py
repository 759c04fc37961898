"""SwanLab, in the cloud or ``mode: local``."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class SwanLab(Tracker):
    """The run keeps its id there when it is resumed."""

    package: ClassVar[str] = "swanlab"

    project: str = "model-foundry"
    """Project that the run is filed under."""

    mode: str | None = None
    """cloud, local, offline or disabled; SwanLab's own default where not given."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import SwanLabTracker

        from model_foundry.tracking._accelerate import AccelerateService

        options = {"experiment_name": run.name, "id": run.run_id, "resume": "allow"}
        if self.mode is not None:
            options["mode"] = self.mode
        return AccelerateService(
            SwanLabTracker(self.project, logdir=str(run.folder / "swanlab"), **options), run
        )
