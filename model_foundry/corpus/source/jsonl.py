"""JSON lines, also compressed: one object a line, one field of it is the document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from model_foundry.corpus._files import cuts_between_lines, lines_before, text_streams
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import TextSource
from model_foundry.errors import DataError
from model_foundry.parts import did_you_mean


@dataclass(frozen=True, slots=True)
class _Place:
    """A line of a file, for messages."""

    where: str
    source_input: Input
    number: int

    def __str__(self) -> str:
        before = lines_before(self.source_input.path, self.source_input.start)
        return f"{self.where}:{self.number + before}"


class JsonLines(TextSource):
    """Blank lines are passed over; everything else must be an object with the field."""

    field: str = Field(default="text", min_length=1)
    """Name of the field that holds the text."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the field of every line, in order."""
        for stream in text_streams(source_input, self.errors):
            for number, line in enumerate(stream.lines(), start=1):
                if line and not line.isspace():
                    yield self._text_of(line, _Place(stream.where, source_input, number))

    def cuts(self, source_input: Input, size: int) -> list[int]:
        """Cut between lines."""
        return cuts_between_lines(source_input.path, size)

    def _text_of(self, line: str, where: _Place) -> str:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{where}: is not JSON ({error}), expected one object a line. Repair the line."
            ) from error
        if not isinstance(record, dict):
            raise DataError(
                f"{where}: holds a {type(record).__name__}, expected an object with the field {self.field!r}."
            )
        if self.field not in record:
            keys = ", ".join(map(repr, record)) or "none"
            raise DataError(
                f"{where}: has no field {self.field!r}, only "
                f"{keys}.{did_you_mean(self.field, list(record))} Name the field that holds the text: "
                "field: NAME."
            )
        text = record[self.field]
        if not isinstance(text, str):
            raise DataError(
                f"{where}: field {self.field!r} holds {json.dumps(text)[:40]}, expected a string. Repair "
                "the line."
            )
        try:
            if "\\u" in line:  # only an escape can leave half of a pair in text that was decoded
                text.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{where}: field {self.field!r} has half of a surrogate pair at character {error.start}, "
                "expected text that UTF-8 can hold. Repair the line."
            ) from error
        return text
