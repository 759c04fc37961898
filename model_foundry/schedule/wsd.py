"""Warmup-stable-decay: rise, hold, then fall to the floor (Hu et al. 2024, arXiv 2404.06395, section 4).

From the flat part a run can be cut at several lengths: ``model-foundry branch`` decays from any of its
checkpoints to what a run of that length would have been.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Self

from pydantic import model_validator

from model_foundry.schedule import Curve, Schedule
from model_foundry.schedule._shapes import Shape, fall, require_floor, require_room
from model_foundry.units import Duration


class WarmupStableDecay(Schedule):
    """SmolLM2 falls linearly in the last 20 %, SmolLM and ModernBERT along 1-sqrt."""

    decay: Duration = Duration(Fraction(20), "%")
    """Length of the fall at the end of the run."""

    shape: Shape = "linear"
    """How it falls; 1-sqrt is fast at first and was best in Hägele et al. 2024 (arXiv 2405.18392)."""

    @model_validator(mode="after")
    def _reaches_the_floor(self) -> Self:
        require_floor(self.shape, self.floor)
        return self

    @property
    def at_the_end(self) -> dict[str, Duration]:
        """The fall; see ``Schedule.at_the_end``."""
        return {"decay": self.decay}

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule as a function of the update; see ``Schedule.curve``.

        Raises:
            RecipeError: When warm-up and decay do not fit into the run, too.
        """
        require_room("decay", self.decay, self.warmup, total, updates_of)
        return super().curve(total, updates_of)

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return 1, then the fall; see ``Schedule.after``."""
        length = updates_of(self.decay)
        return fall(self.shape, (update - (total - length)) / max(1, length), self.floor)
