"""Ratios of neighbouring turns and their spread: what is left when a machine's speed wanders.

Turns are neighbours when they are of the same round of the same command, with the same size, precision and
threads. Their ratio is taken first and the median afterwards, so that a slow minute touches both sides.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Turn = Mapping[str, Any]
SPEED, MEMORY, START = "tokens_per_second", "peak_bytes", "first_update_seconds"


@dataclass(frozen=True)
class Spread:
    """The median of some values, the lowest and highest of them, and how many they are."""

    median: float
    lowest: float
    highest: float
    count: int

    def text(self, form: str = ".2f") -> str:
        """Return ``median (lowest, highest)``."""
        return f"{self.median:{form}} ({self.lowest:{form}}, {self.highest:{form}})"


def spread(values: Iterable[float]) -> Spread | None:
    """Return the spread of values, or None of none."""
    found = list(values)
    return Spread(statistics.median(found), min(found), max(found), len(found)) if found else None


def of_arm(turns: Sequence[Turn], arm: str) -> list[Turn]:
    """Return the turns of an arm that ran."""
    return [turn for turn in turns if turn.get("arm") == arm and SPEED in turn]


def neighbours(turns: Sequence[Turn], first: str, second: str, key: str) -> Spread | None:
    """Return the ratio of ``first``'s values to ``second``'s over the rounds in which both ran."""
    others = {_round(turn): turn[key] for turn in of_arm(turns, second)}
    return spread(turn[key] / others[_round(turn)] for turn in of_arm(turns, first) if _round(turn) in others)


def shares_of_peak(turns: Sequence[Turn], peaks: Sequence[Turn], arm: str) -> Spread | None:
    """Return which share of the round's matrix-multiply peak an arm's operations make up."""
    by_round = {_round(peak): peak for peak in peaks}
    return spread(
        turn[SPEED] * peak["flops_per_token"] / peak["operations_per_second"]
        for turn in of_arm(turns, arm)
        if (peak := by_round.get(_round(turn)))
    )


def best_arm(turns: Sequence[Turn], system: str, flag: str) -> str | None:
    """Return the arm of a system with the highest median speed among those that have ``flag``."""
    arms = {turn["arm"] for turn in turns if SPEED in turn}
    having = [arm for arm in arms if arm.split("+")[0] == system and flag in arm.split("+")[1:]]
    speeds = {arm: statistics.median(turn[SPEED] for turn in of_arm(turns, arm)) for arm in having}
    return max(sorted(speeds), key=speeds.__getitem__, default=None)


def _round(turn: Turn) -> tuple[Any, ...]:
    return tuple(turn[key] for key in ("session", "size", "precision", "threads", "round"))
