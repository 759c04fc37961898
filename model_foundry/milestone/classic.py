"""Dense in the first epoch, where a model changes fastest, and even after it: the house's own schedule."""

from __future__ import annotations

from fractions import Fraction

from pydantic import Field

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import at_updates
from model_foundry.units import Duration


class Classic(Milestone):
    """Update 0, powers of two within epoch 1, its end, and ``count`` points in each later epoch."""

    count: int = Field(default=4, ge=1, le=100_000)
    """Evenly spaced points in each epoch after the first; the last of them is its end."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``."""
        last = min(run.updates, run.batches.first_update(1))
        powers = [1 << power for power in range(last.bit_length())]
        shares = [
            Fraction(index, self.count) for index in range(self.count, int(run.epochs * self.count) + 1)
        ]
        return [*at_updates([0, *powers]), *(Duration(share, "epochs") for share in shares)]
