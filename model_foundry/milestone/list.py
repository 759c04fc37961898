"""Checkpoints at the points that the recipe lists."""

from __future__ import annotations

from pydantic import Field

from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import within
from model_foundry.units import Duration


class Listed(Milestone):
    """Each point in a unit of its own; those beyond the end of the run are left out."""

    at: list[Duration] = Field(min_length=1)
    """Where: [0, 100, 10M words, 1.5 epochs, 50%]."""

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``."""
        return within(run, self.at)
