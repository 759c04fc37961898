"""Intervals that change along the run: often at the start, seldom later."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from model_foundry.errors import RecipeError
from model_foundry.milestone import Milestone, RunLength
from model_foundry.milestone._spans import length_in
from model_foundry.parts import Settings
from model_foundry.units import Duration, Interval

_MOST_POINTS = 1_000_000


class Piece(Settings):
    """One interval, up to a point."""

    every: Interval
    """Distance of its points."""

    until: Interval | None = None
    """Where it ends, this point included, in the unit of ``every``; only the last one goes on to the end."""


class Piecewise(Milestone):
    """Pieces one after the other; each begins where the one before it ended."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"pieces": [{"every": "10 updates", "until": "100 updates"}]}]}
    )

    pieces: list[Piece] = Field(min_length=1)
    """In order, all in one unit: [{every: 10 updates, until: 100 updates}, {every: 100 updates}]."""

    @field_validator("pieces")
    @classmethod
    def _in_order(cls, pieces: list[Piece]) -> list[Piece]:
        units = {span.unit for piece in pieces for span in (piece.every, piece.until) if span is not None}
        if len(units) > 1:
            raise PydanticCustomError("pieces", "expected one unit for all pieces")
        ends: list[Any] = [piece.until for piece in pieces]
        if None in ends[:-1]:
            raise PydanticCustomError("pieces", "expected until in all pieces but the last")
        amounts = [end.amount for end in ends if end is not None]
        if amounts != sorted(set(amounts)):
            raise PydanticCustomError("pieces", "expected each piece to end after the one before it")
        return pieces

    def points(self, run: RunLength) -> list[Duration]:
        """Return the points that the run reaches; see ``Milestone.points``.

        Raises:
            RecipeError: When there are more than anyone can mean.
        """
        found: list[Duration] = []
        start = Fraction(0)
        for piece in self.pieces:
            step, unit = piece.every.amount, piece.every.unit
            end = length_in(run, unit)
            if piece.until is not None:
                end = min(end, piece.until.amount)
            count = int(max(end - start, Fraction(0)) / step)
            if count > _MOST_POINTS:
                raise RecipeError(
                    f"checkpoints.schedule: a point every {piece.every} is {count:,} checkpoints, and "
                    f"at most {_MOST_POINTS:,} can be listed. Lengthen the interval."
                )
            found += [Duration(start + step * index, unit) for index in range(1, count + 1)]
            start = end
        return found
