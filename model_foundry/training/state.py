"""The clock of a run: how much it has been shown, counted exactly, and what is due when."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

from model_foundry.batch_schedule import BatchSchedule
from model_foundry.units import Duration


@dataclass(frozen=True)
class TrainState:
    """Exposure after ``updates`` optimizer updates; ``checkpoint-N`` holds the state with ``updates == N``.

    ``tokens`` counts targets (under masks: what may be one, chosen or not); ``words`` and ``bytes`` are those
    of the source text of the consumed tokens; ``documents`` counts documents consumed to their end;
    ``skipped_updates`` were shown but not applied.

    An attempt is the windows of one update. As long as all of them are applied, attempt k makes update k + 1;
    those in ``passed_over`` (numbered from 0) never make one, so the data run ahead of the updates by their
    number.
    """

    updates: int = 0
    tokens: int = 0
    words: int = 0
    bytes: int = 0
    documents: int = 0
    skipped_updates: int = 0
    passed_over: tuple[int, ...] = ()

    @property
    def attempt(self) -> int:
        """The next attempt: as many were applied before it as there are updates."""
        number = self.updates
        for passed in sorted(self.passed_over):
            number += passed <= number
        return number

    def after(self, exposure: Sequence[int]) -> TrainState:
        """Return the state after one more update that showed ``exposure``.

        Tokens, words, bytes, documents.
        """
        return replace(self._shown(exposure), updates=self.updates + 1)

    def after_skip(self, exposure: Sequence[int]) -> TrainState:
        """Return the state after the next attempt was shown and not applied."""
        return replace(
            self._shown(exposure),
            skipped_updates=self.skipped_updates + 1,
            passed_over=(*self.passed_over, self.attempt),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the counters by name."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainState:
        """Read the counters back from ``trainer_state.json``."""
        counters = {key: record[key] for key in asdict(cls())}
        return cls(**{**counters, "passed_over": tuple(record["passed_over"])})

    def _shown(self, exposure: Sequence[int]) -> TrainState:
        tokens, words, bytes_, documents = exposure
        return replace(
            self,
            tokens=self.tokens + tokens,
            words=self.words + words,
            bytes=self.bytes + bytes_,
            documents=self.documents + documents,
        )


class Timetable:
    """Points of the run at which something is due, in any unit of the clock.

    A point falls on the first update at or past it, by the exact count. Nothing is remembered: the answer
    depends on two consecutive states alone, so a resumed run gives the same answers.

    Args:
        points: Single points.
        every: Interval, or None; 0 is its first point.
        updates: Updates of the whole run, for shares.
        batches: Where epochs end.
    """

    def __init__(
        self,
        points: Iterable[Duration],
        *,
        every: Duration | None = None,
        updates: int,
        batches: BatchSchedule,
    ) -> None:
        self._batches = batches
        self._per_unit = {
            "%": Fraction(updates, 100),
            "updates": Fraction(1),
        }
        points = list(points)
        self._updates = {self._as_updates(point) for point in points if self._is_by_update(point)}
        self._others = [point for point in points if not self._is_by_update(point)]
        self._every = every

    def falls_on(self, before: TrainState | None, now: TrainState) -> bool:
        """Return whether a point lies after ``before`` (None: the run begins) and at or before ``now``."""
        if now.updates in self._updates:
            return True
        if self._every is not None and self._interval_ends(before, now):
            return True
        return any(
            (before is None or getattr(before, point.unit) < point.amount)
            and getattr(now, point.unit) >= point.amount
            for point in self._others
        )

    def _interval_ends(self, before: TrainState | None, now: TrainState) -> bool:
        assert self._every is not None
        if before is None:
            return True
        amount, unit = self._every.amount, self._every.unit
        # The k-th point is the first update at or past k intervals, so that intervals between updates do not
        # drift.
        if unit == "epochs":
            epochs = self._batches.epochs
            return epochs(now.updates) // amount > epochs(before.updates) // amount
        if unit in self._per_unit:
            interval = amount * self._per_unit[unit]
            return math.floor(now.updates / interval) > math.floor(before.updates / interval)
        return getattr(now, unit) // amount > getattr(before, unit) // amount  # type: ignore[no-any-return]

    def _is_by_update(self, point: Duration) -> bool:
        return point.unit == "epochs" or point.unit in self._per_unit

    def _as_updates(self, point: Duration) -> int:
        if point.unit == "epochs":
            return self._batches.updates_for(point.amount)
        return math.ceil(point.amount * self._per_unit[point.unit])
