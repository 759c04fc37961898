"""TensorBoard: event files in the run's folder, ``tensorboard --logdir runs``."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class TensorBoard(Tracker):
    """Needs no account and no network. After a resume the later values of the earlier start are hidden."""

    package: ClassVar[str] = "tensorboard"

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import TensorBoardTracker

        from model_foundry.tracking._accelerate import AccelerateService

        options = {} if run.resumed_at is None else {"purge_step": run.resumed_at + 1}
        return AccelerateService(TensorBoardTracker("tensorboard", str(run.folder), **options), run)
