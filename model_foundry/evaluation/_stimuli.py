"""Sentences to be scored, read from a file: with their items, conditions and regions, placed by offsets."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model_foundry.errors import DataError

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_OWN_COLUMNS = ("item", "condition", "sentence", "region", "text")


@dataclass(frozen=True)
class Region:
    """A named part of a sentence, in characters; the space before it belongs to it."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Stimulus:
    """One sentence."""

    item: str
    condition: str | None
    text: str
    regions: tuple[Region, ...]
    line: int
    """Of the file, where it begins."""

    notes: tuple[tuple[str, str], ...] = ()
    """The file's other columns, carried along."""


@dataclass(frozen=True)
class Stimuli:
    """The sentences of a file."""

    path: Path
    sentences: list[Stimulus]
    empty_lines: list[int]
    """Lines whose sentence has no text; they are left out."""


def read_stimuli(
    path: Path, *, regions: tuple[str, ...] = (), boundary: str | None = None, joiner: str = " "
) -> Stimuli:
    """Read a file of sentences.

    ``.txt`` has one sentence a line. ``.csv`` and ``.tsv`` have a header and one of three shapes:

    - ``sentence``: one row a sentence;
    - ``region`` and ``text``: one row a region; rows of the same item and condition that follow each other
      are one sentence;
    - the columns that ``regions`` names: one row a sentence, one column a region.

    ``item`` is the number of the sentence where there is no such column; ``condition`` may be missing.

    Args:
        path: The file, in UTF-8.
        regions: Columns that hold a region each, in the order of the sentence.
        boundary: Ends a region inside ``sentence``, and is no part of the text; regions are numbered from 1.
        joiner: Stands between the regions of the second and third shape.

    Raises:
        DataError: When it cannot be read, or a column or field is missing, naming the line.
    """
    if path.suffix not in (".txt", *_SEPARATORS):
        raise DataError(f"{path}: a file of sentences is a .txt, .csv or .tsv. Save it as one of them.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix == ".txt":
                lines = enumerate(file, 1)
                found = [
                    Stimulus(str(number), None, line.rstrip("\r\n"), (), number) for number, line in lines
                ]
            else:
                rows = csv.reader(file, delimiter=_SEPARATORS[path.suffix], strict=True)
                found = list(_of_table(path, rows, regions, boundary, joiner))
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table in UTF-8: {error}. Save it again.") from error
    empty = [stimulus.line for stimulus in found if not stimulus.text.strip()]
    sentences = [stimulus for stimulus in found if stimulus.text.strip()]
    if not sentences:
        raise DataError(f"{path}: holds no sentence. Put one on a line, or in a row.")
    return Stimuli(path, sentences, empty)


def _of_table(
    path: Path, rows: Iterator[list[str]], regions: tuple[str, ...], boundary: str | None, joiner: str
) -> Iterator[Stimulus]:
    header = next(rows, [])
    has_long_shape = {"region", "text"} <= set(header)
    needed = list(regions) or (["sentence"] if "sentence" in header or not has_long_shape else [])
    if missing := [name for name in needed if name not in header]:
        raise DataError(
            f"{path}: line 1: there is no column {', '.join(missing)}, found {', '.join(header) or 'none'}; "
            "expected a column sentence, or columns region and text, or those that --regions names."
        )
    group: list[tuple[int, dict[str, str]]] = []
    number = 0
    # A field may hold line breaks; the reader knows the line that a row ends on.
    for line, row in _numbered(rows):
        if len(row) != len(header):
            raise DataError(
                f"{path}: line {line}: found {len(row)} fields, expected {len(header)}, as in the header."
            )
        named = dict(zip(header, row, strict=True))
        for name in ("item", "condition"):
            if named.get(name) == "":
                raise DataError(f"{path}: line {line}: {name} is empty. Every row needs one.")
        if needed:
            number += 1
            yield _of_row(named, line, number, regions, boundary, joiner)
            continue
        if group and any(group[-1][1].get(name) != named.get(name) for name in ("item", "condition")):
            number += 1
            yield _of_rows(group, number, joiner)
            group = []
        group.append((line, named))
    if group:
        yield _of_rows(group, number + 1, joiner)


def _numbered(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    before = rows.line_num  # type: ignore[attr-defined]  # a csv reader
    for row in rows:
        if row:  # blank lines are no rows
            yield before + 1, row
        before = rows.line_num  # type: ignore[attr-defined]


def _of_row(
    row: dict[str, str], line: int, number: int, regions: tuple[str, ...], boundary: str | None, joiner: str
) -> Stimulus:
    if regions:
        return _joined(row, line, number, [(name, row[name]) for name in regions], joiner, regions)
    parts = row["sentence"].split(boundary) if boundary else [row["sentence"]]
    named = [(str(index), part) for index, part in enumerate(parts, 1)] if boundary else []
    if not named:
        return Stimulus(*_names(row, number), row["sentence"], (), line, _notes(row, ()))
    return _joined(row, line, number, named, "", ())


def _of_rows(group: list[tuple[int, dict[str, str]]], number: int, joiner: str) -> Stimulus:
    line, first = group[0]
    return _joined(first, line, number, [(row["region"], row["text"]) for _, row in group], joiner, ())


def _joined(
    row: dict[str, str],
    line: int,
    number: int,
    parts: list[tuple[str, str]],
    joiner: str,
    used: tuple[str, ...],
) -> Stimulus:
    text, regions = "", []
    for name, part in parts:
        start = len(text)
        text += (joiner if text and part else "") + part
        regions.append(Region(name, start, len(text)))
    return Stimulus(*_names(row, number), text, tuple(regions), line, _notes(row, used))


def _names(row: dict[str, str], number: int) -> tuple[str, str | None]:
    return row.get("item", str(number)), row.get("condition")


def _notes(row: dict[str, str], used: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in row.items() if name not in (*_OWN_COLUMNS, *used))
