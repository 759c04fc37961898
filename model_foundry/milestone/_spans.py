"""Arithmetic that the rules share: how long a run is in a unit, and spans of training in updates."""

from __future__ import annotations

from fractions import Fraction

from model_foundry.errors import RecipeError
from model_foundry.milestone import RunLength
from model_foundry.units import Duration


def length_in(run: RunLength, unit: str) -> Fraction:
    """Return the whole run in ``unit``; percent count as a unit of their own.

    Raises:
        RecipeError: When the clock does not count that unit.
    """
    if unit == "%":
        return Fraction(100)
    if unit == "documents":
        raise RecipeError(
            "checkpoints.schedule: checkpoints cannot be counted in documents. "
            "Use updates, tokens, words, bytes, epochs or %."
        )
    return run.amount(unit)


def updates_in(run: RunLength, span: Duration) -> int:
    """Return the whole updates in ``span``, at most those of the run."""
    if span.unit == "updates":
        updates = int(span.amount)
    elif span.unit == "%":
        updates = int(span.amount / 100 * run.updates)
    else:
        epochs = span.amount / length_in(run, span.unit) * run.epochs
        updates = run.batches.updates_for(epochs)
        updates -= run.batches.epochs(updates) > epochs
    return min(updates, run.updates)


def at_updates(updates: list[int]) -> list[Duration]:
    """Return points at these updates."""
    return [Duration(Fraction(update), "updates") for update in updates]


def within(run: RunLength, points: list[Duration]) -> list[Duration]:
    """Return the points that are not beyond the end of the run."""
    return [point for point in points if point.amount <= length_in(run, point.unit)]
