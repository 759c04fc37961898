"""Parts of a run with settings of their own, one after the other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_foundry.parts import Settings
from model_foundry.units import Count, Interval

PositiveCount = Annotated[Count, Field(gt=0)]


class ContextStage(Settings):
    """An early part of the run in which windows are shown as several shorter rows."""

    context: PositiveCount
    """Tokens a row; data.context is a multiple of it."""

    until: Interval
    """Where the next stage begins, counted from the start of the run: 90%, or 1000 updates."""


class MixtureStage(Settings):
    """A part of the run with weights of its own."""

    duration: Interval | None = None
    """Its length; the last stage goes on to the end of the run."""

    weights: list[Annotated[float, Field(ge=0)]] = Field(default_factory=list)
    """One for each source, in order; those of the sources where not given."""
