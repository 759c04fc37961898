"""How many windows each update shows, and where epochs begin: found by an update's number, never by walking.

Sizes are held for spans of updates, so a short table gives the windows before any update. An update never
spans epochs: the last one of an epoch is cut where the epoch ends, and the next one begins the next epoch.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property


@dataclass(frozen=True)
class BatchRamp:
    """The rise of the batch size at the beginning of a run."""

    start: int
    """Windows of the first update."""

    updates: int
    """Length of the rise; the updates after it have the full batch."""

    steps: int | None = None
    """Sizes on the way, each held equally long; None: along a line, update by update."""


@dataclass(frozen=True)
class BatchSchedule:
    """Update -> windows. Update u of a linear ramp from a to b over R updates has a + (b - a) u / R, rounded.

    Of a ramp in k steps it has a + (b - a) j / k with j = floor(u k / R): a itself first, b only after it.
    """

    windows_per_epoch: int
    batch_size: int
    """Windows of an update after the ramp."""

    ramp: BatchRamp | None = None

    def size(self, update: int) -> int:
        """Return the windows of an update where no epoch ends within it."""
        firsts, sizes, _ = self._spans
        return sizes[bisect_right(firsts, update) - 1]

    def before(self, update: int) -> int:
        """Return the windows of all updates before this one, were no epoch to cut any of them."""
        firsts, sizes, shown = self._spans
        span = bisect_right(firsts, update) - 1
        return shown[span] + (update - firsts[span]) * sizes[span]

    def after(self, update: int, windows: int) -> int:
        """Return the first update by which ``windows`` more were shown than by ``update``, epochs aside."""
        return self._at(self.before(update) + windows)

    def first_update(self, epoch: int) -> int:
        """Return the first update of an epoch; the first epoch is 0."""
        known = self._first_updates
        if epoch < len(known):
            return known[epoch]
        return known[-1] + (epoch - len(known) + 1) * self._full_updates_per_epoch

    def epoch_of(self, update: int) -> int:
        """Return the epoch that an update belongs to."""
        known = self._first_updates
        if update >= known[-1]:
            return len(known) - 1 + (update - known[-1]) // self._full_updates_per_epoch
        return bisect_right(known, update) - 1

    def inside(self, update: int) -> range:
        """Return which windows of its epoch an update shows."""
        start = self.before(self.first_update(self.epoch_of(update)))
        end = min(self.before(update + 1) - start, self.windows_per_epoch)
        return range(self.before(update) - start, end)

    def update_of(self, epoch: int, inside: int) -> int:
        """Return the update that shows window ``inside`` (from 0 on) of an epoch."""
        return self.after(self.first_update(epoch), inside + 1) - 1

    def epochs(self, updates: int) -> Fraction:
        """Return how many epochs the first ``updates`` are, by their windows.

        The last update of an epoch counts as if it were full, so a whole epoch is exactly one.
        """
        epoch = self.epoch_of(updates)
        start, end = self._ends(epoch)
        return epoch + Fraction(self.before(updates) - start, end - start)

    def updates_for(self, epochs: Fraction) -> int:
        """Return the first update at or past so many epochs."""
        whole, part = divmod(epochs, 1)
        start, end = self._ends(int(whole))
        return self._at(start + part * (end - start))

    def _ends(self, epoch: int) -> tuple[int, int]:
        return self.before(self.first_update(epoch)), self.before(self.first_update(epoch + 1))

    def _at(self, windows: int | Fraction) -> int:
        firsts, sizes, shown = self._spans
        span = max(0, bisect_left(shown, windows) - 1)
        return firsts[span] + int(-((shown[span] - windows) // sizes[span]))

    @property
    def _full_updates_per_epoch(self) -> int:
        return -(-self.windows_per_epoch // self.batch_size)

    @cached_property
    def _spans(self) -> tuple[list[int], list[int], list[int]]:
        """The first update of each span of one size, that size, and the windows before the span."""
        sizes_by_first = {0: self.batch_size} if self.ramp is None else self._sizes_by_first(self.ramp)
        firsts, sizes, shown = list(sizes_by_first), list(sizes_by_first.values()), [0]
        for index in range(1, len(firsts)):
            shown.append(shown[-1] + (firsts[index] - firsts[index - 1]) * sizes[index - 1])
        return firsts, sizes, shown

    def _sizes_by_first(self, ramp: BatchRamp) -> dict[int, int]:
        rise = self.batch_size - ramp.start
        if ramp.steps is None:
            # a + k is reached where (b - a) u / R is k - 1/2 at least.
            sizes = {-(-ramp.updates * (2 * k - 1) // (2 * rise)): ramp.start + k for k in range(1, rise + 1)}
        else:
            sizes = {
                -(-step * ramp.updates // ramp.steps): ramp.start
                + (2 * rise * step + ramp.steps) // (2 * ramp.steps)
                for step in range(ramp.steps)
            }
        return {0: ramp.start} | sizes | {ramp.updates: self.batch_size}

    @cached_property
    def _first_updates(self) -> list[int]:
        """The first updates of the epochs up to the first one that has the full batch throughout."""
        found = [0]
        while self.ramp is not None and found[-1] < self.ramp.updates:
            found.append(self.after(found[-1], self.windows_per_epoch))
        return found
