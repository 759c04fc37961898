"""Piecewise: any line through given points, for what the other schedules do not have."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field

from model_foundry.errors import RecipeError
from model_foundry.parts import Settings
from model_foundry.schedule import Curve, Schedule
from model_foundry.units import Duration, Interval, Share


class Point(Settings):
    """The rate at one moment of the run."""

    at: Interval
    """When, from the run's beginning."""

    share: Share
    """The rate, as a share of the peak."""


def _no_floor(floor: float) -> float:
    if floor:
        raise ValueError("a piecewise schedule has no floor: leave it out, the last point's share holds on")
    return floor


class Piecewise(Schedule):
    """Begins at the peak after the warm-up; after the last point it stays there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"points": [{"at": "50%", "share": 0.1}]}]})

    floor: Annotated[Share, AfterValidator(_no_floor)] = 0.0
    """None: the last point's share holds to the end."""

    points: list[Point] = Field(min_length=1)
    """Where the rate has which share, in order."""

    between: Literal["line", "step"] = "line"
    """line: a straight line between points. step: each share holds from its point on."""

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule as a function of the update; see ``Schedule.curve``.

        Raises:
            RecipeError: When the points are not in order, after the warm-up and within the run, too.
        """
        ats = [updates_of(self.warmup), *(updates_of(point.at) for point in self.points)]
        if any(later <= earlier for earlier, later in pairwise(ats)) or ats[-1] > total:
            raise RecipeError(
                f"schedule.points: the warm-up ends and the points lie at updates {', '.join(map(str, ats))} "
                f"of {total}, expected each after the one before it and within the run. Mend their order or "
                "lengthen the run."
            )
        return super().curve(total, updates_of)

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return the line through the points, or the last one's share; see ``Schedule.after``."""
        before, value = warmup, 1.0
        for point in self.points:
            at = updates_of(point.at)
            if update < at:
                way = (update - before) / (at - before) if self.between == "line" else 0.0
                return value + (point.share - value) * way
            before, value = at, point.share
        return value
