"""The ways in which a learning rate falls from 1 to a floor, and the lengths that must fit into a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from model_foundry.errors import RecipeError
from model_foundry.units import Duration

Shape = Literal["linear", "1-sqrt", "cosine", "exponential"]


def fall(shape: Shape, share: float, floor: float) -> float:
    """Return the rate after ``share`` of a fall from 1 to ``floor``.

    1-sqrt is that of Hägele et al. 2024 (arXiv 2405.18392, section 3); exponential falls by the same factor
    each update, so its floor is above 0.
    """
    if share <= 0:
        return 1.0
    share = min(share, 1.0)
    if shape == "exponential":
        return math.pow(floor, share)
    left = {
        "linear": 1 - share,
        "1-sqrt": 1 - math.sqrt(share),
        "cosine": 0.5 * (1 + math.cos(math.pi * share)),
    }[shape]
    return floor + (1 - floor) * left


def require_floor(shape: Shape, floor: float) -> None:
    """Refuse a fall that would never get there.

    Raises:
        ValueError: When an exponential one shall end at 0.
    """
    if shape == "exponential" and floor == 0:
        raise ValueError("an exponential fall never reaches 0: give a floor above it, such as 1%")


def require_room(
    key: str, length: Duration, warmup: Duration, total: int, updates_of: Callable[[Duration], int]
) -> None:
    """Refuse a tail of the run that begins within the warm-up.

    Raises:
        RecipeError: Naming both.
    """
    tail, rise = updates_of(length), updates_of(warmup)
    if tail + rise > total:
        raise RecipeError(
            f"schedule.{key}: {tail} updates of {key} and {rise} of warm-up do not fit into a run of {total} "
            "updates. Shorten one of them, or write both as shares of the run, such as 20% and 1%."
        )
