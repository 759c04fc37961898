"""A tracker of Accelerate, told of a run as it is told of one by an Accelerator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.tracking import GeneralTracker

from model_foundry.tracking import TrackedRun


class AccelerateService:
    """Starts ``tracker``, gives it the recipe at the run's beginning, and passes values on.

    Args:
        tracker: Not started yet.
        run: What it shows.
        identify: Finds what the service calls the run, once it is started.
    """

    def __init__(
        self,
        tracker: GeneralTracker,
        run: TrackedRun,
        identify: Callable[[Any], str | None] = lambda inner: None,
    ) -> None:
        self._tracker = tracker
        tracker.start()
        self.identity = identify(tracker.tracker)
        if run.resumed_at is None:
            tracker.store_init_configuration({key: _scalar(value) for key, value in run.facts.items()})

    def log(self, values: dict[str, float], update: int) -> None:
        """Show ``values`` at ``update``."""
        self._tracker.log(values, step=update)

    def finish(self) -> None:
        """Close the run there."""
        self._tracker.finish()


def _scalar(value: Any) -> Any:
    """What every service takes: an empty list or a missing value becomes text."""
    return value if isinstance(value, bool | int | float | str) else str(value)
