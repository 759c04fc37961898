"""Checkpoints at 0, 1, 2, 4, 8, ... updates, where a model changes fastest."""

from __future__ import annotations

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import at_updates, updates_in
from model_foundry.units import Duration


class Log2(Milestone):
    """Powers of two in updates."""

    until: Duration | None = None
    """Where to stop, this point included; the end of the run where not given."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return 0 and the powers of two; see ``Milestone.points``."""
        last = run.updates if self.until is None else updates_in(run, self.until)
        return at_updates([0, *(1 << power for power in range(last.bit_length()))])
