"""Pythia's checkpoints: 0, 1, 2, 4, ..., 512 updates, then every 1000 (Biderman et al., arXiv 2304.01373)."""

from __future__ import annotations

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import at_updates
from model_foundry.units import Duration


class Pythia(Milestone):
    """154 checkpoints in the published run of 143,000 updates; a longer run goes on by thousands."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``."""
        powers = [1 << power for power in range(10)]
        updates = [0, *powers, *range(1000, run.updates + 1, 1000)]
        return at_updates([update for update in updates if update <= run.updates])
