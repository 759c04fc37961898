from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.corpus.source import Input
from model_foundry.corpus.source.parquet import Parquet
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte

TEXTS: list[str | None] = [f"text {number} é\n" * (number % 7) for number in range(1000)]


def write(path: Path, texts: Any = TEXTS, field: str = "text", rows: int = 100) -> Path:
    pq.write_table(pa.table({"id": list(range(len(texts))), field: texts}), path, row_group_size=rows)
    return path


def read(path: Path, field: str = "text") -> list[str]:
    source = Parquet(path=str(path), field=field)
    [found] = source.inputs([])
    return list(source.documents(found))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_row_of_the_column_is_a_document(tmp_path: Path, kind: pa.DataType):
    path = write(tmp_path / "a.parquet", pa.array(TEXTS, kind), field="body")

    assert read(path, "body") == TEXTS


def test_the_parts_of_a_file_are_together_the_whole(tmp_path: Path):
    path = write(tmp_path / "a.parquet")
    source = Parquet(path=str(path))
    item = Input(path, "a.parquet")

    cuts = source.cuts(item, 1)
    parts = [
        list(source.documents(Input(path, "a.parquet", start, stop)))
        for start, stop in zip(cuts, [*cuts[1:], None], strict=True)
    ]

    assert [len(part) for part in parts] == [100] * 10
    assert [text for part in parts for text in part] == TEXTS
    assert source.cuts(item, 1 << 30) == [0]


def test_a_corpus_in_sections_is_the_corpus_in_one(tmp_path: Path):
    write(tmp_path / "a.parquet")

    made = [
        prepare_corpus(
            sources=[Parquet(path="a.parquet")],
            validation=Validation(fraction=0.1),
            tokenizer=Byte(),
            seed=1,
            folders=[tmp_path],
            cache=tmp_path / f"cache-{size}",
            workers=1,
            section_bytes=size,
        )
        for size in (1000, 1 << 24)
    ]

    assert corpus_manifest(made[0]) == corpus_manifest(made[1])
    assert made[0].sources[0].manifest["files"] == made[1].sources[0].manifest["files"]


def test_a_null_is_an_empty_document_and_counted(tmp_path: Path):
    write(tmp_path / "a.parquet", ["a b", None, "", "c"])

    made = prepare_corpus(
        sources=[Parquet(path="a.parquet")],
        validation=Validation(fraction=0),
        tokenizer=Byte(),
        seed=1,
        folders=[tmp_path],
        cache=tmp_path / "cache",
    )

    manifest = made.sources[0].manifest
    assert manifest["inputs"][0]["documents"] == 4
    assert manifest["dropped"] == {"empty_documents": 2, "bytes": 0, "null_documents": 1}
    assert manifest["splits"]["train"]["documents"] == 2


def test_a_file_without_rows_has_no_documents(tmp_path: Path):
    assert read(write(tmp_path / "a.parquet", pa.array([], pa.string()))) == []


def test_what_cannot_be_the_text_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"has no column 'text', only 'id', 'txet'\. Did you mean 'txet'\?"):
        read(write(tmp_path / "a.parquet", field="txet"))
    with pytest.raises(DataError, match=r"column 'id' holds int64, expected string"):
        read(write(tmp_path / "a.parquet"), "id")


def test_what_is_not_parquet_is_named(tmp_path: Path):
    path = write(tmp_path / "a.parquet")
    data = path.read_bytes()
    path.write_bytes(data[:-100])

    with pytest.raises(DataError, match=r"a\.parquet: cannot be read as Parquet: .*Copy or write"):
        read(path)


def test_a_value_that_is_not_utf8_is_named_by_its_rows(tmp_path: Path):
    array = pa.array([b"good", b"\xff"], pa.binary()).view(pa.string())
    path = write(tmp_path / "a.parquet", array)

    with pytest.raises(DataError, match=r"a\.parquet: a value of rows 0 to 1 is not UTF-8"):
        read(path)


def test_one_text_many_times_is_no_corpus(tmp_path: Path):
    path = write(tmp_path / "bomb.parquet", pa.array(["a" * 1_000_000] * 200).dictionary_encode(), rows=50)

    with pytest.raises(DataError, match=r"bomb\.parquet: grows to more than 200 times its size"):
        read(path)
