"""How far preparation is, for whoever shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

_TELL_CHARACTERS = 1_000_000


@dataclass(frozen=True)
class Progress:
    """One moment of one stage."""

    stage: str
    """What is being done, such as ``tokenizing jsonl-0``."""

    done: int
    """Characters of text so far, those that an earlier run had finished left out."""

    tokens: int
    """Made so far; 0 where none are made."""

    share: float
    """Of the whole stage, from 0 to 1; by the bytes of the files, so about."""


Report = Callable[[Progress], None]


class Teller:
    """Reports a stage at its start, at its end, and every million characters between.

    Args:
        report: Is told.
        stage: What is being done.
        total: Bytes of all files.
        finished: Bytes of those that an earlier run had finished.
    """

    def __init__(self, report: Report | None, stage: str, total: int, finished: int = 0) -> None:
        self._report = report
        self._stage = stage
        self._total = max(1, total)
        self._finished = finished
        self._done = self._told = self._tokens = 0

    def __enter__(self) -> Self:
        self.look()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._tell(1.0)

    def add(self, characters: int, tokens: int = 0) -> None:
        """Count what was done, and report it now and then."""
        self._done += characters
        self._tokens += tokens
        if self._done - self._told >= _TELL_CHARACTERS:
            self._told = self._done
            self.look()

    def look(self) -> None:
        """Report, whether there is news or not."""
        self._tell(min(0.999, (self._finished + self._done) / self._total))

    def _tell(self, share: float) -> None:
        if self._report is not None:
            self._report(Progress(self._stage, self._done, self._tokens, share))
