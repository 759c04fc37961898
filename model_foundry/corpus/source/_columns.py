"""One column of Arrow record batches as documents, for files that hold tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from model_foundry.corpus.source import Input
from model_foundry.errors import DataError
from model_foundry.parts import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

NULLS = "null_documents"


def check_column(schema: pa.Schema, field: str, where: str) -> None:
    """Raise a DataError where a table has no column of text by this name."""
    import pyarrow as pa

    if schema.names.count(field) != 1:
        names = ", ".join(map(repr, schema.names)) or "none"
        raise DataError(
            f"{where}: has no column {field!r}, only {names}.{did_you_mean(field, schema.names)} Name the "
            "column that holds the text: field: NAME."
        )
    kind = schema.field(field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise DataError(
            f"{where}: column {field!r} holds {kind}, expected string. Name the column that holds the text: "
            "field: NAME."
        )


def texts_of(columns: Iterable[pa.Array], item: Input) -> Iterator[str]:
    """Yield the values of columns, in order; a null is an empty document, and is counted.

    Raises:
        DataError: When a value is not UTF-8.
    """
    row = 0
    for column in columns:
        try:
            values = column.to_pylist()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{item.path}: a value of rows {row} to {row + len(column) - 1} is not UTF-8 ({error}), "
                "expected text. Write the file anew."
            ) from error
        for value in values:
            if value is None:
                item.losses[NULLS] += 1
            yield value or ""
        row += len(column)
