"""Constant: the peak, to the end, after the warm-up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

from model_foundry.schedule import Schedule
from model_foundry.units import Duration, Share


def _only_one(floor: float) -> float:
    if floor != 1:
        raise ValueError("a constant schedule never falls: leave floor out, or choose linear or cosine")
    return floor


class Constant(Schedule):
    """Never falls."""

    floor: Annotated[Share, AfterValidator(_only_one)] = 1.0
    """The last learning rate is the peak."""

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return 1; see ``Schedule.after``."""
        return 1.0
