"""Stanford Mistral's checkpoints: dense at the start, then ever coarser (stanford-crfm/mistral)."""

from __future__ import annotations

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import at_updates
from model_foundry.units import Duration

STEPS = ((10, 100), (50, 2_000), (100, 20_000), (1_000, 400_000))
"""(interval, up to), both in updates."""


class Mistral(Milestone):
    """Every 10 updates to 100, 50 to 2000, 100 to 20,000, 1000 to 400,000; nothing after that."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``."""
        updates = {update for step, end in STEPS for update in _after_previous(step, end)}
        return at_updates(sorted(update for update in updates if update <= run.updates))


def _after_previous(step: int, end: int) -> range:
    start = max((earlier for _, earlier in STEPS if earlier < end), default=0)
    return range(start + step, end + 1, step)
