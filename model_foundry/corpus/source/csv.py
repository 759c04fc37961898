"""Tables of comma- or tab-separated values, also compressed: one column of every row is the document."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from model_foundry.corpus._blocks import is_compressed
from model_foundry.corpus._files import TextStream, text_streams
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import TextSource
from model_foundry.errors import DataError
from model_foundry.parts import did_you_mean

_LONGEST_FIELD = 2**31 - 1


class Csv(TextSource):
    """The first row names the columns; blank lines are passed over, every other row must have all cells."""

    field: str = Field(default="text", min_length=1)
    """Name of the column that holds the text."""

    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    """Character between cells; default: a tab where the name ends in ``.tsv`` (``.tsv.gz``), else a comma."""

    quoting: Literal["minimal", "none"] = "minimal"
    """minimal: cells may stand in double quotes, which are doubled within. none: a quote is a character."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the column of every row, in order."""
        csv.field_size_limit(_LONGEST_FIELD)  # of the whole process; the default ends at 131,072 characters
        for stream in text_streams(source_input, self.errors):
            yield from self._column(stream)

    def _column(self, stream: TextStream) -> Iterator[str]:
        lines = (f"{line}\n" for line in stream.lines())
        rows = csv.reader(lines, strict=True, **self._format(stream.where))
        column, width = 0, 0
        try:
            for row in rows:
                if not row:
                    continue
                if not width:
                    column, width = self._find_column(row, f"{stream.where}:{rows.line_num}"), len(row)
                elif len(row) != width:
                    raise DataError(
                        f"{stream.where}:{rows.line_num}: has {len(row)} cells, expected {width} as in the "
                        "first row. Repair the row; text with the delimiter in it needs quotes."
                    )
                else:
                    yield row[column]
        except csv.Error as error:
            raise DataError(
                f"{stream.where}:{rows.line_num}: is no row of cells ({error}). Repair the row, or change "
                "delimiter and quoting to those of the file."
            ) from error
        if not width:
            raise DataError(
                f"{stream.where}: is empty, expected a first row that names the columns. Remove the file."
            )

    def _format(self, name: str) -> dict[str, Any]:
        path = Path(name)
        ending = Path(path.stem).suffix if is_compressed(path) else path.suffix
        delimiter = self.delimiter or ("\t" if ending.lower() == ".tsv" else ",")
        return {
            "delimiter": delimiter,
            "quoting": csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL,
        }

    def _find_column(self, names: list[str], where: str) -> int:
        if names.count(self.field) == 1:
            return names.index(self.field)
        if self.field in names:
            raise DataError(
                f"{where}: has {names.count(self.field)} columns {self.field!r}, expected one. Rename one of "
                "them."
            )
        raise DataError(
            f"{where}: has no column {self.field!r}, only {', '.join(map(repr, names))}."
            f"{did_you_mean(self.field, names)} Name the column that holds the text: field: NAME."
        )
