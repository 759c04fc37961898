"""A given number of evenly spaced checkpoints in every epoch, the last one at its end."""

from __future__ import annotations

from fractions import Fraction

from pydantic import Field, PositiveInt

from model_foundry.milestone import Milestone, RunLength
from model_foundry.units import Duration


class PerEpoch(Milestone):
    """With ``count: 4``: after each quarter of an epoch."""

    count: int = Field(ge=1, le=100_000)
    """Points an epoch."""

    from_epoch: PositiveInt = 1
    """First epoch that has them, counted from 1; 2 leaves the first epoch to another rule, such as log2."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points up to the end of the run; see ``Milestone.points``."""
        first, last = (self.from_epoch - 1) * self.count + 1, int(run.epochs * self.count)
        shares = [Fraction(index, self.count) for index in range(first, last + 1)]
        return [Duration(share, "epochs") for share in shares]
