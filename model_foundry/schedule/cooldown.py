"""Cool-down: the fall of a branch, from the rate at which it left its trunk, to the end of the run.

``model-foundry branch`` writes this section; it holds the trunk's rate, so nothing of the trunk is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from model_foundry.errors import RecipeError
from model_foundry.schedule import Curve, Schedule
from model_foundry.schedule._shapes import Shape, fall, require_floor
from model_foundry.units import Duration


class CoolDown(Schedule):
    """Falls over all of the run that is left; the floor is a share of the rate where it begins."""

    continues_another_run: ClassVar[bool] = True

    start: Duration
    """Where the branch begins, from the trunk's beginning."""

    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The rate there, as a share of the peak."""

    shape: Shape = "linear"
    """How it falls."""

    @model_validator(mode="after")
    def _reaches_the_floor(self) -> Self:
        require_floor(self.shape, self.floor)
        return self

    def curve(self, total: int, updates_of: Callable[[Duration], int]) -> Curve:
        """Return the schedule as a function of the update; see ``Schedule.curve``.

        Raises:
            RecipeError: When it begins at or after the end of the run, too.
        """
        start = updates_of(self.start)
        if start >= total:
            raise RecipeError(
                f"schedule.start: it is update {start}, and the run has {total}. Lengthen training.duration."
            )
        return super().curve(total, updates_of)

    def after(self, update: int, warmup: int, total: int, updates_of: Callable[[Duration], int]) -> float:
        """Return the share, then its fall; see ``Schedule.after``."""
        start = updates_of(self.start)
        return self.share * fall(self.shape, (update - start) / max(1, total - start), self.floor)
