"""Linear: falls from the peak to the floor in a straight line."""

from __future__ import annotations

from collections.abc import Callable

from model_foundry.schedule import Schedule
from model_foundry.units import Duration


class Linear(Schedule):
    """Reaches the floor at the end of the run; the last update, which comes before it, uses a little more."""

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return floor + (1 - floor) * (total - update) / (total - warmup); see ``Schedule.after``."""
        left = min(1.0, max(0.0, (total - update) / max(1, total - warmup)))
        return self.floor + (1 - self.floor) * left
