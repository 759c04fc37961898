"""A checkpoint at every multiple of an interval."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from model_foundry.errors import RecipeError
from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import length_in
from model_foundry.units import Duration

MOST_POINTS = 1_000_000


def _above_zero(interval: Duration) -> Duration:
    if interval.amount <= 0:
        raise ValueError("expected an interval above 0")
    return interval


class Every(Milestone):
    """Counts from the start of the run, in the interval's own unit."""

    interval: Annotated[Duration, AfterValidator(_above_zero)]
    """Distance from one checkpoint to the next: 500 updates, 1 epoch, 10M words, 5%."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the multiples of the interval; see ``Milestone.points``.

        Raises:
            RecipeError: When there would be more than a million of them.
        """
        count = int(length_in(run, self.interval.unit) / self.interval.amount)
        if count > MOST_POINTS:
            raise RecipeError(
                f"checkpoints.schedule: every {self.interval} is {count:,} checkpoints in this run, "
                f"and at most {MOST_POINTS:,} are possible. Lengthen the interval."
            )
        return [Duration(self.interval.amount * index, self.interval.unit) for index in range(1, count + 1)]
