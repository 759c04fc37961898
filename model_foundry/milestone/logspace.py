"""A given number of checkpoints, evenly spaced on a logarithmic axis of updates."""

from __future__ import annotations

from pydantic import Field, PositiveInt

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import at_updates, updates_in
from model_foundry.units import Duration


class Logspace(Milestone):
    """From the first update to the end; points that round to the same update are one."""

    count: int = Field(ge=2, le=1_000_000)
    """Points, both ends included."""

    first: PositiveInt = 1
    """The first point, in updates."""

    until: Duration | None = None
    """The last point; the end of the run where not given."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points, rounded to whole updates; see ``Milestone.points``."""
        last = run.updates if self.until is None else updates_in(run, self.until)
        if last < self.first:
            return []
        growth = (last / self.first) ** (1 / (self.count - 1))
        updates = {round(self.first * growth**index) for index in range(self.count)}
        return at_updates([min(update, last) for update in sorted(updates)])
