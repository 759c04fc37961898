"""Parts of a run with settings of their own, one after the other."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from model_foundry.parts import Settings
from model_foundry.units import Count, Interval, read_count, read_fraction

PositiveCount = Annotated[Count, Field(gt=0)]
DataOrder = Literal["shuffle_each_epoch", "shuffle_once", "sequential", "streams", "explicit"]


def _read_windows(value: Any) -> int | str:
    problem = PydanticCustomError("windows", "expected a number of windows above 0, or a share such as 25%")
    try:
        if isinstance(value, str) and value.strip().endswith("%"):
            share = read_fraction(value)
            if not 0 < share < 1:
                raise problem
            return f"{share * 100:.12g}%"
        count = read_count(value)
    except PydanticCustomError as error:
        raise problem from error
    if count < 1:
        raise problem
    return count


WindowsOrShare = Annotated[int | str, BeforeValidator(_read_windows)]
"""Windows, or a share of the batch as it is written: 64, 25%."""


class BatchWarmup(Settings):
    """A batch that grows at the beginning of the run."""

    model_config = ConfigDict(serialize_by_alias=True)

    start: WindowsOrShare = Field(alias="from")
    """Windows of the first update: 64, or a share of batch_size, as 25%."""

    over: Interval
    """How long it grows: 10%, 1000 updates, 100M tokens; 100% is the whole run."""

    steps: PositiveCount | None = None
    """Sizes on the way, each for as many updates, the first one included; null: a straight line."""

    def windows(self, batch_size: int) -> int:
        """Return the windows of the first update, at least 1."""
        if isinstance(self.start, str):
            return max(1, round(read_fraction(self.start) * batch_size))
        return self.start


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


class Mixture(Settings):
    """How much of each source is shown, beyond the sources' own weights."""

    temperature: Annotated[float, Field(gt=0)] | None = None
    """Shares proportional to size^(1/temperature): 1 keeps the sizes' own, more evens them out."""

    stages: list[MixtureStage] = Field(default_factory=list)
    """Parts of the run, one after the other, such as a main phase and an annealing phase."""
