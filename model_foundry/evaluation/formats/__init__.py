"""Contract for formats of minimal pairs: a file named for the format, with a function ``read``.

``read(path, names)`` yields the items of one file in their order and raises ``DataError`` with file and line
for what is missing or malformed. ``names`` says what a file calls a field, where that is not its usual name.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from model_foundry.errors import DataError

if TYPE_CHECKING:
    from model_foundry.evaluation.formats.formula import Formula

Span = tuple[int, int]
"""First character and the one after the last."""


@dataclass(frozen=True)
class Text:
    """What a model reads, and the stretches of it whose probabilities count."""

    text: str
    spans: tuple[Span, ...] = ()
    """The whole text where none is given. A token belongs to the stretch in which it ends."""

    def after(self, prefix: str) -> Text:
        """Return the text with ``prefix`` before it, which counts where the whole text does."""
        moved = tuple((start + len(prefix), stop + len(prefix)) for start, stop in self.spans)
        return Text(prefix + self.text, moved)

    def stretches(self) -> tuple[Span, ...]:
        """Return the spans, or the one of the whole."""
        return self.spans or ((0, len(self.text)),)


@dataclass(frozen=True)
class Item:
    """A comparison: the first text is to be more probable than each other one, or formulas are to hold."""

    where: str
    """File and line."""

    id: str
    paradigm: str
    texts: tuple[Text, ...]
    groups: dict[str, str] = field(default_factory=dict)
    """Larger groups that the paradigm is part of, by level, such as ``phenomenon``."""

    formulas: tuple[Formula, ...] = ()
    """Over the surprisals of regions: a text's name and a span's number; all must hold."""

    names: tuple[str, ...] = ()
    """What formulas call the texts."""

    regions: tuple[int, ...] = ()
    """What formulas call the spans."""


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a text file that hold anything.

    Raises:
        DataError: When it cannot be read, or a line is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path}:{number}: not UTF-8 (byte {error.start} of the line). "
                        "Convert the file to UTF-8."
                    ) from error
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error


def records_of(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place and the fields of each record of a JSON Lines, TSV or CSV file (names in line 1).

    Raises:
        DataError: When a line is malformed.
    """
    if path.suffix in (".tsv", ".csv"):
        yield from _rows_of(path, "\t" if path.suffix == ".tsv" else ",")
        return
    for number, line in lines_of(path):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}:{number}: not JSON: {error}. Expected one object a line.") from error
        if not isinstance(record, dict):
            raise DataError(
                f"{path}:{number}: found {type(record).__name__}, expected one JSON object a line."
            )
        yield f"{path}:{number}", record


def _rows_of(path: Path, delimiter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    quoting: Literal[0, 3] = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    numbered = list(lines_of(path))
    rows = csv.reader((line for _, line in numbered), delimiter=delimiter, quoting=quoting)
    header = next(rows, [])
    for (number, _), row in zip(numbered[1:], rows, strict=True):
        if len(row) != len(header):
            raise DataError(f"{path}:{number}: found {len(row)} fields, expected {len(header)} as in line 1.")
        yield f"{path}:{number}", dict(zip(header, row, strict=True))


def text_field(record: Mapping[str, Any], name: str, where: str) -> str:
    """Return a field that must be there and hold text.

    Raises:
        DataError: When it does not.
    """
    if name not in record:
        raise DataError(
            f"{where}: there is no field {name!r}, expected one with text. Found: {', '.join(record)}."
        )
    if not isinstance(record[name], str):
        raise DataError(f"{where}: {name} is {type(record[name]).__name__}, expected text.")
    return str(record[name])


def continued(context: str, text: str) -> Text:
    """Return a text after its context, with a space between where neither has one; only the text counts."""
    needs_space = bool(context) and not context[-1].isspace() and not text[:1].isspace()
    before = context + " " if needs_space else context
    return Text(before + text, ((len(context), len(before) + len(text)),)) if context else Text(text)
