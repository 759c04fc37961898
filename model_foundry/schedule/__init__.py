"""Contract for learning-rate schedules: a pure function of the update, with nothing to save or restore.

The value for update ``u`` (the first of a run is 0) is the fraction of the peak that this update uses. With
``warmup_offset: 1`` (the default) warm-up over ``w`` updates uses ``(u + 1) / w``, so that the first update
moves; with 0 it uses ``u / w``, as transformers' schedulers do. The fall begins at update ``w`` in either
case.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from fractions import Fraction
from typing import ClassVar, Literal

from model_foundry.errors import RecipeError
from model_foundry.parts import Part
from model_foundry.units import Duration, Share

Curve = Callable[[int], float]


class Schedule(Part):
    """Settings of one schedule; lengths may be in any unit of the clock."""

    continues_another_run: ClassVar[bool] = False
    """Whether it begins at a checkpoint of another run, so that it need not see a warm-up to its end."""

    @property
    def at_the_end(self) -> dict[str, Duration]:
        """The lengths that end with the run, by their keys."""
        return {}

    warmup: Duration = Duration(Fraction(0), "updates")
    """Length of the linear rise from 0 to the peak."""

    warmup_offset: Literal[0, 1] = 1
    """1: update 0 uses peak/warmup. 0: update 0 uses 0, as in transformers."""

    floor: Share = 0.0
    """Last learning rate, as a share of the peak."""

    @abstractmethod
    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return the fraction of the peak for an ``update`` at or past the end of the warm-up.

        Args:
            update: Updates already taken.
            warmup: Length of the warm-up in updates.
            total: Updates in the whole run, whatever a resumed run has left.
            updates_of: Resolves a length of the recipe into updates.
        """

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule of a run of ``total`` updates as a function of the update.

        Raises:
            RecipeError: When the warm-up is longer than the run, so that the peak would never be reached.
        """
        warmup = updates_of(self.warmup)
        if warmup > total:
            raise RecipeError(
                f"schedule.warmup: {warmup} updates of warm-up do not fit into a run of {total} updates. "
                "Shorten it, or write it as a share of the run, such as 2%."
            )

        def scale(update: int) -> float:
            if update < warmup:
                return (update + self.warmup_offset) / warmup
            return self.after(update, warmup, total, updates_of)

        return scale
