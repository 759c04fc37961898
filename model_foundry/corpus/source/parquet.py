"""Parquet: one column of every row is the document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from model_foundry.corpus._blocks import Cap, check_is_regular
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._columns import check_column, texts_of
from model_foundry.corpus.source._paths import PathSource
from model_foundry.errors import DataError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

_BATCH_ROWS = 256


class Parquet(PathSource):
    """Only this column is read, a few hundred rows at a time; a null is an empty document."""

    field: str = Field(default="text", min_length=1)
    """Name of the column that holds the text."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the column of every row, in order."""
        path = source_input.path
        cap = Cap(path)
        with _opened(path) as file:
            check_column(file.schema_arrow, self.field, str(path))
            first_bytes = _first_bytes(file)
            stop = source_input.stop or path.stat().st_size
            groups = [at for at, byte in enumerate(first_bytes) if source_input.start <= byte < stop]
            if not groups:
                return
            compressed = path.stat().st_size
            batches = file.iter_batches(_BATCH_ROWS, row_groups=groups, columns=[self.field])
            for text in texts_of((batch.column(0) for batch in batches), source_input):
                cap.add(len(text), compressed)
                yield text

    def cuts(self, source_input: Input, size: int) -> list[int]:
        """Cut between row groups, where their bytes begin."""
        cuts = [0]
        with _opened(source_input.path) as file:
            for byte in _first_bytes(file)[1:]:
                if byte - cuts[-1] >= size:
                    cuts.append(byte)
        return cuts


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_is_regular(path)
    try:
        with path.open("rb") as raw, pq.ParquetFile(raw) as file:
            yield file
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet: {error}. Copy or write the file anew."
        ) from error


def _first_bytes(file: pq.ParquetFile) -> list[int]:
    """Return where each row group begins, the first at 0; a writer lays them one behind the other."""
    metadata = file.metadata
    begins = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = [group.column(at) for at in range(group.num_columns)]
        pages = [(column.dictionary_page_offset, column.data_page_offset) for column in columns]
        begins.append(min(byte for offsets in pages for byte in offsets if byte))
    if begins != sorted(set(begins)):  # no order of bytes then: all belongs to the whole
        return [0] * len(begins)
    return [0, *begins[1:]] if begins else []
