"""The room that a run's checkpoints take on the disk, save by save, as ``Retention`` keeps them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class PlannedSave:
    """A checkpoint to come."""

    update: int
    is_resumable: bool
    is_milestone: bool


@dataclass(frozen=True)
class CheckpointSizes:
    """Bytes of the parts of one checkpoint."""

    weights: int
    state: int
    """The optimizer's; only in resumable ones."""

    beside: int
    """Tokenizer, records and random states."""

    def of(self, *, is_resumable: bool) -> int:
        """Return the bytes of a checkpoint."""
        return self.weights + self.beside + (self.state if is_resumable else 0)


@dataclass(frozen=True)
class DiskUse:
    """Bytes over the whole run."""

    most_bytes: int
    """At the fullest moment: while one more is written, those that it replaces are still there."""

    left_bytes: int
    """When the run is over."""

    left_resumable: int
    left_weights: int
    """Checkpoints that are left with their state, and with weights alone."""


def disk_use(saves: Iterable[PlannedSave], sizes: CheckpointSizes, keep_resumable: int) -> DiskUse:
    """Return what a run's checkpoints take.

    Args:
        saves: In the order of their updates.
        sizes: Of one checkpoint.
        keep_resumable: How many resumable states are kept; milestones keep their weights for ever.
    """
    whole, light = sizes.of(is_resumable=True), sizes.of(is_resumable=False)
    resumable: deque[PlannedSave] = deque()
    weights = most = 0
    for save in saves:
        here = whole if save.is_resumable else light
        most = max(most, len(resumable) * whole + weights * light + here)
        if not save.is_resumable:
            weights += 1
            continue
        resumable.append(save)
        if len(resumable) > keep_resumable:
            weights += resumable.popleft().is_milestone
    return DiskUse(most, len(resumable) * whole + weights * light, len(resumable), weights)
