"""The sections of a recipe that say what a run tells while it trains."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated

from pydantic import Field

from model_foundry.parts import Settings
from model_foundry.units import Duration, Interval


class Samples(Settings):
    """Text that the model writes while it trains, with randomness of its own."""

    prompts: list[str] = Field(min_length=1)
    """Beginnings to continue."""

    every: Interval | None = None
    """How often; always at the start and at the end."""

    tokens: Annotated[int, Field(gt=0, le=4096)] = 48
    """Length of each continuation."""

    temperature: Annotated[float, Field(ge=0)] = 0.8
    """0 is greedy."""

    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Draw from the most probable tokens that hold this share of the probability."""


class Logging(Settings):
    """What is written while the run goes on."""

    every: Interval = Duration(Fraction(10), "updates")
    """Interval of lines in metrics.jsonl; the first and the last update are always written."""

    json_lines: bool = False
    """Write the log file as one JSON object a line."""
