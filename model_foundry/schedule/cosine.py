"""Cosine: falls from the peak to the floor along half a cosine (Loshchilov and Hutter, arXiv 1608.03983).

nanoGPT's rise is peak * (t + 1) / (w + 1) for t < w, then the fall begins at t = w. Ours with
``warmup: w + 1`` has the same rise and the peak at the same update; the fall begins one update later.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from model_foundry.schedule import Schedule
from model_foundry.units import Duration


class Cosine(Schedule):
    """Reaches the floor at the end of the run; the last update, which comes before it, uses a little more."""

    def decay(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return floor + (1 - floor) * (1 + cos(pi * share of the fall)) / 2; see ``Schedule.decay``."""
        share = min(1.0, (update - warmup) / max(1, total - warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))
