"""Update -> micro-batches of tensors, the same for any number of processes and workers.

The sampler deals the windows of an update into micro-batches, always as many for each process;
``accelerator.prepare`` hands every process its own. Slots that an update's windows do not fill hold
``PADDING``: a row without targets.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from model_foundry.data.mixture import AnyCourse
from model_foundry.data.rows import Rows
from model_foundry.objective import IGNORED, Arrangement, Batch, Row
from model_foundry.parent_death import end_with_parent

PADDING = -1


def rounds(num_windows: int, micro_batch_size: int, processes: int) -> int:
    """Return how many micro-batches each process takes for an update of ``num_windows``."""
    return -(-num_windows // (micro_batch_size * processes))


class UpdateSampler(Sampler[list[int]]):
    """Yields the micro-batches of updates ``start`` to ``stop``, one for each process in turn.

    It has no ``batch_size`` (micro-batches differ in length) and says ``drop_last``, so that Accelerate deals
    the micro-batches out and neither drops nor repeats any. Where ``sizes`` are given, micro-batches are
    filled up with ``PADDING`` to the next of them.
    """

    drop_last = True

    def __init__(
        self,
        course: AnyCourse,
        *,
        start: int,
        stop: int,
        micro_batch_size: int,
        processes: int,
        passed_over: Collection[int] = (),
        sizes: Sequence[int] = (),
    ) -> None:
        self._course = course
        self._updates = range(start, stop)
        self._passed_over = frozenset(passed_over)
        self._micro_batch_size = micro_batch_size
        self._processes = processes
        self._sizes = sizes

    def __len__(self) -> int:
        shown = (update for update in self._updates if update not in self._passed_over)
        return sum(self._slots(len(self._course.span(update))) for update in shown)

    def __iter__(self) -> Iterator[list[int]]:
        size = self._micro_batch_size
        for update in self._updates:
            if update in self._passed_over:
                continue
            span = self._course.span(update)
            for slot in range(self._slots(len(span))):
                windows = list(span[slot * size : (slot + 1) * size]) or [PADDING]
                padded = min((fit for fit in self._sizes if fit >= len(windows)), default=len(windows))
                yield windows + [PADDING] * (padded - len(windows))

    def _slots(self, num_windows: int) -> int:
        return rounds(num_windows, self._micro_batch_size, self._processes) * self._processes


class WindowDataset(Dataset[Batch]):
    """Position -> tensors. Asked for a list of positions, it gives the micro-batch at once.

    Args:
        course: Which window stands where.
        arrangement: What the objective does to each row, if anything.
        rows: How long rows are; a window each where not given.
    """

    def __init__(
        self, course: AnyCourse, arrangement: Arrangement | None = None, rows: Rows | None = None
    ) -> None:
        self._course = course
        self._arrangement = arrangement
        self._context = course.windows[0].context
        self._rows = rows or Rows(self._context)
        self._isolates = course.windows[0].documents == "isolate"

    def __getitem__(self, position: int) -> Batch:
        return self.__getitems__([position])

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return the micro-batch of ``positions``, its windows right-padded with ignored targets.

        The positions are of one update, so that all rows have one length.
        """
        shape = (len(positions), self._context)
        ids = np.zeros(shape, np.int64)
        targets = np.full(shape, IGNORED, np.int64)
        row_length = self._rows.length(max(positions))
        inside_row = np.arange(self._context) % row_length
        places = np.broadcast_to(inside_row, shape).copy() if self._isolates else None
        arranged = None if self._arrangement is None else _Arranged(self._arrangement, shape)
        exposure = np.zeros(4, np.int64)
        for row, position in enumerate(positions):
            if position == PADDING:
                continue
            place = self._course.place(position)
            windows = self._course.windows[place.source]
            start, stop = windows.span(place.window)
            tokens = windows.stream.tokens(start, stop)
            length = stop - start - windows.shared
            ids[row, :length] = tokens[:length]
            if windows.shared:
                targets[row, :length] = tokens[1:]
            boundaries = windows.boundaries(start, stop) - start if places is not None else _NONE
            for inside in boundaries.tolist():
                assert places is not None
                if windows.shared:
                    targets[row, inside - 1] = IGNORED
                if inside < self._context:
                    places[row, inside : inside - inside % row_length + row_length] -= places[row, inside]
            if arranged is not None:
                stream = windows.stream
                words = partial(stream.words_by_token, start, stop)
                made = Row(ids[row], targets[row], tokens, words, place.epoch, position, row_length)
                arranged.add(row, made, length, boundaries)
            exposure += windows.exposure(place.window)
        batch: Batch = {
            "ids_BT": torch.from_numpy(ids.reshape(-1, row_length)),
            "targets_BT": torch.from_numpy(targets.reshape(-1, row_length)),
            "exposure": torch.from_numpy(exposure),
        }
        if places is not None:
            batch["positions_BT"] = torch.from_numpy(places.reshape(-1, row_length))
        if arranged is not None:
            arranged.complete(batch)
        self._add_lanes(batch, positions)
        return batch

    def _add_lanes(self, batch: Batch, positions: list[int]) -> None:
        """Say which lanes the rows are of, where the order has lanes; padding is of none."""
        found = [self._course.lane(position) for position in positions if position != PADDING]
        lanes = [lane for lane in found if lane is not None]
        if lanes:
            batch["lanes_B"] = torch.tensor([number for number, _ in lanes])
            batch["continues_B"] = torch.tensor([continues for _, continues in lanes])


_NONE: npt.NDArray[np.int64] = np.empty(0, np.int64)


class _Arranged:
    """What the windows of a micro-batch are beside ids and targets, where the objective arranges them."""

    def __init__(self, arrangement: Arrangement, shape: tuple[int, int]) -> None:
        self._arrangement = arrangement
        self._segments = np.zeros(shape, np.int64)
        self._causal = np.zeros(shape[0], np.bool_)

    def add(self, number: int, row: Row, length: int, boundaries: npt.NDArray[np.int64]) -> None:
        """Arrange a row of ``length`` inputs; documents begin at its ``boundaries``."""
        self._causal[number] = self._arrangement.arrange(row)
        self._segments[number, :length] = 1
        for inside in boundaries.tolist():
            self._segments[number, inside:length] += 1

    def complete(self, batch: Batch) -> None:
        """Add what the loss needs to know of the rows."""
        shape = batch["ids_BT"].shape
        batch["counted"] = (batch["targets_BT"] != IGNORED).sum()
        if (self._segments != 1).any():
            batch["segments_BT"] = torch.from_numpy(self._segments.reshape(shape))
        if self._arrangement.gives_direction:
            batch["causal_B"] = torch.from_numpy(self._causal.repeat(shape[0] // len(self._causal)))


def build_loader(
    course: AnyCourse,
    sampler: UpdateSampler,
    *,
    workers: int,
    seed: int,
    arrangement: Arrangement | None = None,
    rows: Rows | None = None,
) -> DataLoader[Batch]:
    """Return the loader that ``accelerator.prepare`` takes.

    It has a generator of its own: iterating a DataLoader draws from the global one otherwise, and so
    would shift every dropout mask after a resume.
    """
    options: dict[str, Any] = {"prefetch_factor": 4} if workers else {}
    if workers:
        # Workers do not tokenize; unset, the tokenizer's library warns of each fork after it has been used.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return DataLoader(
        WindowDataset(course, arrangement, rows),
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_is,  # type: ignore[arg-type]  # __getitems__ gives a batch, not a list
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=_serve_until_the_end,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def _serve_until_the_end(worker: int) -> None:
    """Let a worker outlast the signals that tell its process to save and leave, and end with that process."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    end_with_parent(signal.SIGKILL)


def _as_is(batch: Batch) -> Batch:
    return batch
