"""The course of a run through its data: update -> positions -> windows of sources, and back.

A position counts the windows that a run has been shown, from 0 on; padding has none. An update never spans
epochs, so the last one of an epoch is shorter. Nothing here depends on processes, workers or micro-batches.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_foundry.batch_schedule import BatchRamp, BatchSchedule
from model_foundry.data.order import Order, OrderMode
from model_foundry.data.windows import Windows


@dataclass(frozen=True)
class Place:
    """What stands at a position: which window of which source, and in which pass over it."""

    source: int
    window: int
    epoch: int


class Course:
    """All windows of all sources once an epoch, in one order.

    Args:
        windows: The windows of each source.
        seed: The recipe's data seed.
        mode: How an epoch is ordered.
        batch_size: Windows an update.
        ramp: How the batch grows at the beginning of the run.
        explicit: For the order of that name: the windows of an epoch, numbered through all sources.
    """

    def __init__(
        self,
        windows: list[Windows],
        *,
        seed: int,
        mode: OrderMode,
        batch_size: int,
        ramp: BatchRamp | None = None,
        explicit: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.windows = windows
        self.explicit = explicit
        self._ends: list[int] = np.cumsum([source.count for source in windows]).tolist()
        self._order = Order(self._ends[-1], seed, mode, explicit=explicit, lanes=batch_size)
        self.windows_per_epoch = self._order.count
        self.batches = BatchSchedule(self.windows_per_epoch, batch_size, ramp)

    def span(self, update: int) -> range:
        """Return the positions that an update shows."""
        start = self.batches.epoch_of(update) * self.windows_per_epoch
        inside = self.batches.inside(update)
        return range(start + inside.start, start + inside.stop)

    def place(self, position: int) -> Place:
        """Return what stands at a position."""
        epoch, inside = divmod(position, self.windows_per_epoch)
        number = self._order.window(epoch, inside)
        source = bisect_right(self._ends, number)
        return Place(source, number - (self._ends[source - 1] if source else 0), epoch)

    def lane(self, position: int) -> tuple[int, bool] | None:
        """Return the lane of a position, and whether its text goes on from the update before.

        None where the order has no lanes. A lane begins anew with an epoch and with a source, and with a
        document where windows keep documents apart.
        """
        if self._order.mode != "streams":
            return None
        round_, lane = divmod(position % self.windows_per_epoch, self.batches.batch_size)
        place = self.place(position)
        return lane, round_ > 0 and not self.windows[place.source].begins_anew(place.window)

    def update_of(self, source: int, window: int, epoch: int) -> int:
        """Return the update that shows a window of a source in ``epoch``; -1 where none does."""
        number = window + (self._ends[source - 1] if source else 0)
        position = self._order.position(epoch, number)
        return -1 if position < 0 else self.batches.update_of(epoch, position)

    def updates_of(self, source: int, window: int, epoch: int) -> list[int]:
        """Return all updates that show a window of a source in ``epoch``; an explicit order may repeat it."""
        number = window + (self._ends[source - 1] if source else 0)
        positions = self._order.positions(epoch, number)
        return [self.batches.update_of(epoch, position) for position in positions]

    def exposure(self, position: int) -> npt.NDArray[np.int64]:
        """Return what a position adds to the clock: targets, words, bytes, documents."""
        place = self.place(position)
        return self.windows[place.source].exposure(place.window)
