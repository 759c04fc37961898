"""Documents of a length between bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from model_foundry.corpus._words import count_words
from model_foundry.corpus.filter import Filter, Judge

Bound = Annotated[int, Field(ge=1)]


class Length(Filter):
    """Leaves out documents that are too short or too long; the bounds themselves stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"min_words": 5}]})

    min_words: Bound | None = None
    """Fewest words (of ``str.split``)."""

    max_words: Bound | None = None
    """Most words."""

    min_characters: Bound | None = None
    """Fewest characters."""

    max_characters: Bound | None = None
    """Most characters."""

    @model_validator(mode="after")
    def _bounds_leave_something(self) -> Self:
        if all(bound is None for bound in (self.min_words, self.max_words, *self._characters)):
            raise ValueError("no bound is given, so nothing would be left out. Give min_words, say")
        for unit, low, high in (
            ("words", self.min_words, self.max_words),
            ("characters", *self._characters),
        ):
            if low is not None and high is not None and low > high:
                raise ValueError(f"min_{unit} ({low}) is more than max_{unit} ({high}): nothing would stay")
        return self

    @property
    def _characters(self) -> tuple[int | None, int | None]:
        return self.min_characters, self.max_characters

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what measures a text."""

        def judge(text: str, counts: Counter[str]) -> str | None:
            size = len(text)
            words = count_words(text) if self.min_words or self.max_words else 0
            if words < (self.min_words or 0) or size < (self.min_characters or 0):
                counts["too_short"] += 1
                return None
            if words > (self.max_words or words) or size > (self.max_characters or size):
                counts["too_long"] += 1
                return None
            return text

        return judge
