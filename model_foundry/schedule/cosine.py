"""Cosine: falls from the peak to the floor along half a cosine (Loshchilov and Hutter, arXiv 1608.03983).

nanoGPT's rise is peak * (t + 1) / (w + 1) for t < w, then the fall begins at t = w. Ours with
``warmup: w + 1`` has the same rise and the peak at the same update; the fall begins one update later.
GPT-BERT's ends in ``cooldown: 1.6%``, OLMo 2's is that of a longer run (``length: 5T tokens``) cut short.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

from model_foundry.errors import RecipeError
from model_foundry.schedule import Curve, Schedule
from model_foundry.schedule._shapes import require_room
from model_foundry.units import Duration, Interval


class Cosine(Schedule):
    """Reaches the floor at the end of the run; the last update, which comes before it, uses a little more."""

    cooldown: Duration = Duration(Fraction(0), "updates")
    """Length of a straight line to 0 at the end; the cosine ends where it begins."""

    length: Interval | None = None
    """Length of a longer run whose cosine this one follows; the run's own where not given."""

    @property
    def at_the_end(self) -> dict[str, Duration]:
        """The straight line to 0; see ``Schedule.at_the_end``."""
        return {"cooldown": self.cooldown}

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule as a function of the update; see ``Schedule.curve``.

        Raises:
            RecipeError: When warm-up and cool-down do not fit, or the longer run is shorter, too.
        """
        if self.length is not None and updates_of(self.length) < total:
            raise RecipeError(
                f"schedule.length: {updates_of(self.length)} updates, and the run alone has {total}. It is "
                "the length of a longer run: raise it, or leave it out."
            )
        require_room("cooldown", self.cooldown, self.warmup, total, updates_of)
        return super().curve(total, updates_of)

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return floor + (1 - floor) * (1 + cos(pi * share of the fall)) / 2; see ``Schedule.after``."""
        tail = total - updates_of(self.cooldown)
        end = tail if self.length is None else updates_of(self.length)
        share = min(1.0, (min(update, tail) - warmup) / max(1, end - warmup))
        value = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))
        return value if update <= tail or tail == total else value * max(0, total - update) / (total - tail)
