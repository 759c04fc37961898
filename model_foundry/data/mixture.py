"""Sources in stated shares: which source stands at which position, computed and not drawn.

The k-th window of a source with share p may stand at positions ``floor(k/p)`` to ``ceil((k+1)/p) - 1``;
taking the earliest deadline first meets all of these windows, so after K positions every source's count
is within 1 of K * p (proportionate fairness: Baruah, Cohen, Plaxton and Varvel 1996, Algorithmica 15).
The pattern repeats after the shares' common denominator; shares whose denominator is larger than
``LONGEST_PATTERN`` are rounded to it.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from model_foundry.batch_schedule import BatchRamp, BatchSchedule
from model_foundry.data.course import Course, Place
from model_foundry.data.order import Order, OrderMode
from model_foundry.data.windows import Windows
from model_foundry.errors import RecipeError

LONGEST_PATTERN = 2**18


@dataclass(frozen=True)
class Stage:
    """A part of the run with shares of its own."""

    windows: int
    """Length in windows."""

    shares: tuple[Fraction, ...]
    """One for each source; they add up to 1."""


def shares_by_weight(weights: list[Fraction]) -> tuple[Fraction, ...]:
    """Return weights scaled to add up to 1."""
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def shares_by_temperature(sizes: list[int], temperature: float) -> tuple[Fraction, ...]:
    """Return shares proportional to ``size ** (1 / temperature)``; above 1 they are evened out."""
    largest = max(sizes)
    weights = [Fraction((size / largest) ** (1 / temperature)) for size in sizes]
    return representable(shares_by_weight(weights), LONGEST_PATTERN)


def representable(shares: tuple[Fraction, ...], length: int) -> tuple[Fraction, ...]:
    """Return shares with a common denominator of at most ``length``, rounded by largest remainder."""
    if math.lcm(*(share.denominator for share in shares)) <= length:
        return shares
    counts = [max(int(share * length), 1 if share else 0) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda index: counts[index] - shares[index] * length)
    for index in range(length - sum(counts)):
        counts[by_remainder[index % len(shares)]] += 1
    while sum(counts) > length:
        counts[counts.index(max(counts))] -= 1
    return tuple(Fraction(count, length) for count in counts)


def capped_stages(
    stages: list[Stage], sizes: list[int], max_epochs: list[float | None], names: list[str]
) -> list[Stage]:
    """Hold every source to its ``max_epochs``; the others take what it may not give.

    Args:
        stages: The stages as asked for.
        sizes: Windows of each source.
        max_epochs: Most passes over each source, or None.
        names: For the message.

    Raises:
        RecipeError: When no source may give more.
    """
    left = [
        None if most is None else math.floor(most * size)
        for most, size in zip(max_epochs, sizes, strict=True)
    ]
    resolved = []
    for stage in stages:
        shares = _held_to(stage, left, names)
        resolved.append(Stage(stage.windows, shares))
        taken = [math.ceil(share * stage.windows) for share in shares]
        left = [None if most is None else most - count for most, count in zip(left, taken, strict=True)]
    return resolved


def _held_to(stage: Stage, left: list[int | None], names: list[str]) -> tuple[Fraction, ...]:
    capped: dict[int, Fraction] = {}
    while True:
        free = [index for index in range(len(left)) if index not in capped]
        rest = 1 - sum(capped.values())
        asked = sum(stage.shares[index] for index in free)
        if rest > 0 and not asked:
            raise RecipeError(
                f"data.mixture: a stage of {stage.windows:,} windows needs more than max_epochs allows of "
                f"{', '.join(names)}. Shorten training.duration or raise max_epochs."
            )
        shares = {index: stage.shares[index] / asked * rest if asked else Fraction(0) for index in free}
        over = {
            # Rounded down to what a pattern can hold, so that rounding never exceeds the limit.
            index: Fraction(max(most, 0) * LONGEST_PATTERN // stage.windows, LONGEST_PATTERN)
            for index in free
            if (most := left[index]) is not None and shares[index] * stage.windows > most
        }
        if not over:
            return representable(
                tuple({**capped, **shares}[index] for index in range(len(left))), LONGEST_PATTERN
            )
        capped |= over


class Pattern:
    """The repeating order of sources of one stage.

    Args:
        shares: One for each source, adding up to 1.
        length: Windows of the stage; the pattern is no longer than that.
    """

    def __init__(self, shares: tuple[Fraction, ...], length: int) -> None:
        denominator = math.lcm(*(share.denominator for share in shares))
        self.length = min(denominator, length)
        self.sources = _earliest_deadline_first(shares, denominator, self.length)
        self.ranks = np.zeros(self.length, dtype=np.int64)
        self.slots: list[npt.NDArray[np.int64]] = []
        for source in range(len(shares)):
            slots = np.flatnonzero(self.sources == source)
            self.ranks[slots] = np.arange(len(slots))
            self.slots.append(slots)

    def counts(self, positions: int) -> list[int]:
        """Return how many of the first ``positions`` each source has."""
        cycles, rest = divmod(positions, self.length)
        return [cycles * len(slots) + int(np.searchsorted(slots, rest, "left")) for slots in self.slots]

    def source_and_rank(self, position: int) -> tuple[int, int]:
        """Return the source at ``position`` and how many of its windows stand before."""
        cycle, slot = divmod(position, self.length)
        source = int(self.sources[slot])
        return source, cycle * len(self.slots[source]) + int(self.ranks[slot])

    def position(self, source: int, rank: int) -> int:
        """Return the position of a source's window number ``rank``."""
        cycle, inside = divmod(rank, len(self.slots[source]))
        return cycle * self.length + int(self.slots[source][inside])


def _earliest_deadline_first(
    shares: tuple[Fraction, ...], denominator: int, length: int
) -> npt.NDArray[np.int16]:
    per_cycle = [int(share * denominator) for share in shares]
    given = [0] * len(shares)
    waiting = [(0, source) for source, count in enumerate(per_cycle) if count]
    eligible: list[tuple[int, int]] = []
    heapq.heapify(waiting)
    order = np.empty(length, dtype=np.int16)
    for slot in range(length):
        while waiting and waiting[0][0] <= slot:
            source = heapq.heappop(waiting)[1]
            deadline = -(-(given[source] + 1) * denominator // per_cycle[source])
            heapq.heappush(eligible, (deadline, source))
        source = heapq.heappop(eligible)[1]
        order[slot] = source
        given[source] += 1
        heapq.heappush(waiting, (given[source] * denominator // per_cycle[source], source))
    return order


class MixtureCourse:
    """Windows of several sources in stated shares, stage after stage; each source has epochs of its own.

    Args:
        windows: The windows of each source.
        stages: Shares and lengths; the last one goes on for as long as it is asked.
        seed: The recipe's data seed.
        mode: How an epoch of a source is ordered.
        batch_size: Windows an update; each has all of them, since sources end their epochs apart.
        ramp: How the batch grows at the beginning of the run.
    """

    def __init__(
        self,
        windows: list[Windows],
        stages: list[Stage],
        *,
        seed: int,
        mode: OrderMode,
        batch_size: int,
        ramp: BatchRamp | None = None,
    ) -> None:
        self.windows = windows
        self.stages = stages
        self.batches = BatchSchedule(sum(source.count for source in windows), batch_size, ramp)
        self._orders = [Order(source.count, seed, mode, index) for index, source in enumerate(windows)]
        self._patterns = [Pattern(stage.shares, stage.windows) for stage in stages]
        self._starts = [0]
        self._given = [[0] * len(windows)]
        for stage, pattern in zip(stages[:-1], self._patterns, strict=False):
            self._starts.append(self._starts[-1] + stage.windows)
            counts = pattern.counts(stage.windows)
            self._given.append([before + now for before, now in zip(self._given[-1], counts, strict=True)])

    def span(self, update: int) -> range:
        """Return the positions that an update shows."""
        return range(self.batches.before(update), self.batches.before(update + 1))

    def place(self, position: int) -> Place:
        """Return what stands at a position; the epoch is that of the source."""
        stage = bisect_right(self._starts, position) - 1
        source, rank = self._patterns[stage].source_and_rank(position - self._starts[stage])
        epoch, inside = divmod(self._given[stage][source] + rank, self.windows[source].count)
        return Place(source, self._orders[source].window(epoch, inside), epoch)

    def lane(self, position: int) -> None:
        """Return that there are no lanes; see ``Course.lane``."""
        return None

    def update_of(self, source: int, window: int, epoch: int) -> int:
        """Return the update that shows a window in ``epoch`` of its source; -1 where none does."""
        rank = epoch * self.windows[source].count + self._orders[source].position(epoch, window)
        for stage in reversed(range(len(self.stages))):
            inside = rank - self._given[stage][source]
            if inside >= 0:
                if not self.stages[stage].shares[source]:
                    return -1
                position = self._starts[stage] + self._patterns[stage].position(source, inside)
                return self.batches.after(0, position + 1) - 1
        raise AssertionError("ranks begin at 0")

    def updates_of(self, source: int, window: int, epoch: int) -> list[int]:
        """Return every update that shows a window of a source in ``epoch`` of that source: one or none."""
        update = self.update_of(source, window, epoch)
        return [] if update < 0 else [update]

    def exposure(self, position: int) -> npt.NDArray[np.int64]:
        """Return what a position adds to the clock: targets, words, bytes, documents."""
        place = self.place(position)
        return self.windows[place.source].exposure(place.window)

    def epochs(self, positions: int) -> list[float]:
        """Return how many passes over each source the first ``positions`` make."""
        stage = bisect_right(self._starts, max(positions - 1, 0)) - 1
        counts = self._patterns[stage].counts(positions - self._starts[stage])
        total = [before + now for before, now in zip(self._given[stage], counts, strict=True)]
        return [count / source.count for count, source in zip(total, self.windows, strict=True)]


AnyCourse = Course | MixtureCourse
"""Both tell which window stands where; they differ in what an epoch is."""
