"""BabyLM's checkpoints (2025 and 2026 rules): in words seen, repetitions counted."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import within
from model_foundry.units import Duration

MILLION = 10**6


class BabyLM(Milestone):
    """Every million words to 10M, every 10M to 100M and, on the strict track, every 100M to 1000M."""

    track: Literal["strict", "strict-small"] = "strict-small"
    """strict-small: 19 points to 100M words. strict: 28 points to 1000M words."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``."""
        millions = [*range(1, 10), *range(10, 101, 10)]
        if self.track == "strict":
            millions += range(200, 1001, 100)
        return within(run, [Duration(Fraction(count * MILLION), "words") for count in millions])
