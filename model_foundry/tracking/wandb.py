"""Weights & Biases; ``WANDB_MODE=offline`` needs no network."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class WandB(Tracker):
    """The run keeps its id there when it is resumed."""

    package: ClassVar[str] = "wandb"

    project: str = "model-foundry"
    """Project that the run is filed under."""

    entity: str | None = None
    """Team or user; wandb's own default where not given."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import WandBTracker

        from model_foundry.tracking._accelerate import AccelerateService

        options = {"name": run.name, "id": run.run_id, "resume": "allow", "dir": str(run.folder)}
        if self.entity is not None:
            options["entity"] = self.entity
        return AccelerateService(WandBTracker(self.project, **options), run)
