"""Whether training waits for its data: how much of the time, and when that is worth telling."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from model_foundry.failpoints import reach

SLOW_SHARE = 0.2
"""More waiting than this share of a stretch is told."""

STRETCH_SECONDS = 10.0
"""How long updates are watched before they are judged; a single late batch is none of anybody's business."""

Item = TypeVar("Item")


class DataWait:
    """Measures how long updates wait for their batches.

    The first batch of a process is left out: loader workers begin with it.

    Args:
        tell: Called with the facts of a stretch that waited too long; again only after one that did not.
        clock: Seconds; ``time.monotonic`` where not given.
    """

    def __init__(
        self, tell: Callable[..., None] = lambda **facts: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell, self._clock = tell, clock
        self._has_begun = self._is_slow = False
        self._waited = 0.0
        self._stretch_waited = self._stretch_seconds = 0.0

    def next(self, batches: Iterator[Item]) -> Item:
        """Return the next item, and count how long it took to come."""
        began = self._clock()
        reach("batch")
        item = next(batches)
        if self._has_begun:
            self._waited += self._clock() - began
        self._has_begun = True
        return item

    def read(self, seconds: float, update: int) -> float:
        """Return how many of the last ``seconds`` of updates were waiting, and judge the stretch."""
        last, self._waited = self._waited, 0.0
        self._stretch_waited += last
        self._stretch_seconds += seconds
        if self._stretch_seconds >= STRETCH_SECONDS:
            share = self._stretch_waited / self._stretch_seconds
            was_slow, self._is_slow = self._is_slow, share > SLOW_SHARE
            if self._is_slow and not was_slow:
                self._tell(update=update, share=round(share, 3), seconds=round(self._stretch_seconds, 1))
            self._stretch_waited = self._stretch_seconds = 0.0
        return last
