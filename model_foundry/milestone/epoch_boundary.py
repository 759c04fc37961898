"""A checkpoint at the end of every epoch."""

from __future__ import annotations

from fractions import Fraction

from model_foundry.milestone import Milestone, RunLength
from model_foundry.units import Duration


class EpochBoundary(Milestone):
    """Whole epochs only; the end of a run within an epoch is saved anyway."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return 1, 2, ... epochs; see ``Milestone.points``."""
        return [Duration(Fraction(epoch), "epochs") for epoch in range(1, int(run.epochs) + 1)]
