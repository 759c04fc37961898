"""Inverse square root: falls with the root of the update (Vaswani et al. 2017, arXiv 1706.03762, eq. 3)."""

from __future__ import annotations

from collections.abc import Callable

from model_foundry.errors import RecipeError
from model_foundry.schedule import Curve, Schedule
from model_foundry.units import Duration, Interval


class InverseSquareRoot(Schedule):
    """Does not depend on the length of the run, so a run can be made longer later; never below the floor."""

    timescale: Interval | None = None
    """After this many updates more than the warm-up the rate has fallen to 0.71; the warm-up if not given."""

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule as a function of the update; see ``Schedule.curve``.

        Raises:
            RecipeError: When there is neither a warm-up nor a timescale, too.
        """
        if updates_of(self.timescale or self.warmup) < 1:
            raise RecipeError(
                "schedule.timescale: there is none, and no warm-up to take it from. Give either, such as "
                "warmup: 1%."
            )
        return super().curve(total, updates_of)

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return sqrt(timescale / (timescale + update - warmup)); see ``Schedule.after``."""
        timescale = warmup if self.timescale is None else updates_of(self.timescale)
        return max(self.floor, float((timescale / (timescale + update - warmup)) ** 0.5))
