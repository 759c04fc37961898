"""The section of a recipe that says by which measure a checkpoint is the best."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_foundry.parts import Settings


class BestBy(Settings):
    """A measure of one of the recipe's evaluations."""

    by: Annotated[str, Field(pattern=r"^[^/\s]+/\S+$")]
    """Such as perplexity/loss or blimp/accuracy: the evaluation's name and the measure's (metrics.jsonl)."""

    mode: Literal["min", "max"] = "min"
    """Whether less is better (a loss) or more (an accuracy)."""
