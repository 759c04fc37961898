"""Polynomial: falls as a power of what is left of the run, as BERT's code does with power 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from model_foundry.schedule import Schedule
from model_foundry.units import Duration


class Polynomial(Schedule):
    """Reaches the floor at the end of the run; a power above 1 falls fast at first."""

    power: Annotated[float, Field(gt=0)] = 2.0
    """Exponent of the share that is left."""

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return floor + (1 - floor) * (share that is left)^power; see ``Schedule.after``."""
        left = min(1.0, max(0.0, (total - update) / max(1, total - warmup)))
        return self.floor + (1 - self.floor) * float(left**self.power)
