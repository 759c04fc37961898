"""Tables as CSV that R and pandas read at once, in a file or printed."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any


def write_csv(path: Path | None, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a header and rows; a file is there once it is whole.

    A missing value is NA, a truth is TRUE or FALSE, and text is quoted where it must be.
    """
    partial = path.with_name(f".{path.name}.partial") if path else None
    with partial.open("w", encoding="utf-8", newline="") if partial else nullcontext(sys.stdout) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([_cell(value) for value in row] for row in rows)
    if partial and path:
        partial.replace(path)


def _cell(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "NA"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return value
