from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.errors import DataError


def read(path: Path, field: str = "text") -> list[str]:
    source = JsonLines(path=str(path), field=field)
    [found] = source.inputs([])
    return list(source.documents(found))


def test_the_field_of_every_line_is_a_document(tmp_path: Path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(
        gzip.compress('{"id": 1, "body": "a\\nb\u2028é"}\r\n\n  \n{"body": ""}\n{"body": "😀"}'.encode())
    )

    assert read(path, field="body") == ["a\nb\u2028é", "", "😀"]


def test_an_escaped_pair_of_surrogates_is_one_character(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d\\ude00"}\n')

    assert read(path) == ["😀"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{oops", r"is not JSON \(.*\), expected one object a line"),
        ("[" * 100_000, r"is not JSON"),
        ('["text"]', r"holds a list, expected an object with the field 'text'"),
        (
            '{"id": 1, "txet": "a"}',
            r"has no field 'text', only 'id', 'txet'\. Did you mean 'txet'\? Name the field",
        ),
        ("{}", r"has no field 'text', only none"),
        ('{"text": [1, 2]}', r"field 'text' holds \[1, 2\], expected a string"),
        ('{"text": null}', r"field 'text' holds null, expected a string"),
        ('{"text": "ab\\ud800"}', r"field 'text' has half of a surrogate pair at character 2"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path: Path, line: str, message: str):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": "good"}}\n\n{line}\n')

    with pytest.raises(DataError, match=rf"a\.jsonl:3: {message}"):
        read(path)
