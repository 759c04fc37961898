"""Numbers along a run: a series by any of its clocks, smoothed, and thinned for drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from model_foundry.report.facts import Line

Point = tuple[float, float]

X_AXES: dict[str, str] = {"update": "updates", "tokens": "tokens", "words": "words", "hours": "hours"}
"""Clocks that a plot can be drawn over, and what they count."""


@dataclass(frozen=True)
class Series:
    """A line of a plot; every point carries all clocks, so that the axis can be changed."""

    name: str
    lines: list[Line]
    key: str
    is_sparse: bool = False
    """Drawn with a dot a point: few measurements, not a value an update."""

    is_faint: bool = False
    """The background of its plot, such as the raw values behind a smoothed line."""

    def points(self, axis: str) -> list[Point]:
        """Return (clock, value) of each line that has both, finite ones only."""
        found = []
        for line in self.lines:
            x, y = line.get(axis), line.get(self.key)
            if isinstance(x, int | float) and isinstance(y, int | float) and math.isfinite(y):
                found.append((float(x), float(y)))
        return found


def began_at(lines: Sequence[Line]) -> float | None:
    """Return the time of the first line that has one, in seconds since 1970."""
    return next((line["time"] for line in lines if isinstance(line.get("time"), int | float)), None)


def with_hours(lines: Sequence[Line], began: float | None) -> list[Line]:
    """Return the lines with ``hours`` since ``began``, by their ``time`` in seconds since 1970."""
    if began is None:
        return list(lines)
    return [
        {**line, "hours": (line["time"] - began) / 3600}
        if isinstance(line.get("time"), int | float)
        else line
        for line in lines
    ]


def smoothed(lines: Sequence[Line], key: str, *, share: float = 0.02, least: float = 5.0) -> list[Line]:
    """Return the lines with ``key`` replaced by its exponential mean over about ``share`` of them.

    It is over ``least`` of them at least, so that a short run is smoothed, too. The mean is corrected for its
    start (Kingma and Ba 2015, section 3), so that it begins at the first value.
    """
    keep = 1 - 1 / max(least, share * len(lines))
    mean, weight, found = 0.0, 0.0, []
    for line in lines:
        value = line.get(key)
        if not isinstance(value, int | float) or not math.isfinite(value):
            continue
        mean = keep * mean + (1 - keep) * value
        weight = keep * weight + (1 - keep)
        found.append({**line, key: mean / weight})
    return found


def thinned(points: Sequence[Point], most: int = 240) -> list[Point]:
    """Return at most about ``most`` points: of each stretch the lowest and highest, so no peak is lost."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most / 2))
    kept: list[Point] = []
    for first in range(0, len(points), size):
        stretch = range(first, min(first + size, len(points)))
        by_value: Callable[[int], float] = lambda index: points[index][1]  # noqa: E731  # used twice, here
        kept += [points[index] for index in sorted({min(stretch, key=by_value), max(stretch, key=by_value)})]
    return kept
