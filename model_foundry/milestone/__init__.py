"""Contract for checkpoint schedules: rules that list the points at which a checkpoint is due.

A point is an amount of training in any unit of the clock; it falls on the first update at or past it.
``checkpoint-0`` and the last update are always saved, whatever the rules say.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from model_foundry.batch_schedule import BatchSchedule
from model_foundry.parts import Part
from model_foundry.units import Duration


@dataclass(frozen=True)
class RunLength:
    """What a rule may know of the run: its length in each unit. Words and bytes are estimates."""

    updates: int
    batches: BatchSchedule
    tokens: int
    words: int
    bytes: int

    @property
    def epochs(self) -> Fraction:
        """The whole run in epochs."""
        return self.batches.epochs(self.updates)

    def amount(self, unit: str) -> Fraction:
        """The whole run in ``unit``."""
        return Fraction(getattr(self, unit))


class Milestone(Part):
    """One rule of ``checkpoints.schedule``."""

    kind: Literal["weights", "resumable"] = "resumable"
    """Whether its checkpoints hold the optimizer and random state too."""

    @abstractmethod
    def points(self, run: RunLength) -> list[Duration]:
        """Return the points of a run of that length, none beyond its end; order and repeats do not matter."""
