"""MLflow: a tracking server or a local folder, as ``MLFLOW_TRACKING_URI`` says."""

from __future__ import annotations

from typing import ClassVar

from model_foundry.tracking import Service, TrackedRun, Tracker


class MLflow(Tracker):
    """The run keeps its id there when it is resumed."""

    package: ClassVar[str] = "mlflow"

    experiment: str = "model-foundry"
    """Experiment that the run is filed under."""

    def open(self, run: TrackedRun) -> Service:
        """Begin the run there, or continue it; see ``Tracker.open``."""
        from accelerate.tracking import MLflowTracker

        from model_foundry.tracking._accelerate import AccelerateService

        tracker = MLflowTracker(experiment_name=self.experiment, run_name=run.name, run_id=run.identity)
        return AccelerateService(tracker, run, identify=lambda active: str(active.info.run_id))
