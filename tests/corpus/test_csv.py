from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus.source.csv import Csv
from model_foundry.errors import DataError


def read(path: Path, **settings: Any) -> list[str]:
    source = Csv(path=str(path), **settings)
    [found] = source.inputs([])
    return list(source.documents(found))


def test_a_cell_may_hold_delimiters_quotes_and_line_ends(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\r\n1,"a, ""b""\r\nc"\r\n\r\n2,\r\n3,d')

    assert read(path) == ['a, "b"\r\nc', "", "d"]


def test_tabs_separate_where_the_name_says_tsv_and_quotes_may_be_characters(tmp_path: Path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(b'body\tid\nsay "a, b\t1\n'))

    assert read(path, field="body", quoting="none") == ['say "a, b']


def test_a_delimiter_of_ones_own_wins(tmp_path: Path):
    path = tmp_path / "a.tsv"
    path.write_text("id;text\n1;a\tb\n")

    assert read(path, delimiter=";") == ["a\tb"]


def test_a_cell_longer_than_pythons_own_limit_is_read(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text(f"text\n{'a' * 200_000}\n")

    assert [len(text) for text in read(path)] == [200_000]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.csv: is empty, expected a first row that names the columns"),
        ("id,txet\n1,a\n", r"a\.csv:1: has no column 'text', only 'id', 'txet'\. Did you mean 'txet'\?"),
        ("text,text\n1,a\n", r"a\.csv:1: has 2 columns 'text', expected one\. Rename one of them"),
        ('id,text\n1,"a\nb"\n2,c,d\n', r"a\.csv:4: has 3 cells, expected 2 as in the first row"),
        ('id,text\n1,"a"b\n', r"a\.csv:2: is no row of cells \(.*\)\. Repair the row, or change delimiter"),
        ('id,text\n1,"a\n', r"a\.csv:2: is no row of cells \(unexpected end of data\)"),
    ],
)
def test_a_bad_table_is_named_by_file_and_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "a.csv"
    path.write_text(text)

    with pytest.raises(DataError, match=message):
        read(path)
