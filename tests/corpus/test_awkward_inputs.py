"""Inputs that nobody wants and everybody has: each does what docs/reference/awkward_inputs.md says of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import re
import unicodedata
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from model_foundry.corpus import Validation, _blocks
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source import Input, Source
from model_foundry.corpus.source.csv import Csv
from model_foundry.corpus.source.jsonl import JsonLines
from model_foundry.corpus.source.parquet import Parquet
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "awkward_inputs.md"
OTHER = "other text"


@dataclass(frozen=True)
class Case:
    """An input and what comes of it: documents, or an error."""

    write: Callable[[Path], object]
    source: Source
    documents: list[str] | None = None
    error: str = ""
    dropped: tuple[tuple[str, int], ...] = ()


def put(name: str, data: bytes | str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def zipped(members: dict[str, bytes], **settings: Any) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, **settings) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def link_to_itself(folder: Path) -> None:
    (folder / "a.txt").symlink_to("b.txt")
    (folder / "b.txt").symlink_to("a.txt")


def folders_in_a_circle(folder: Path) -> None:
    for name, other in (("x", "y"), ("y", "x")):
        (folder / name).mkdir()
        (folder / name / "a.txt").write_text(name)
        (folder / name / "loop").symlink_to(folder / other)


def unreadable(folder: Path) -> None:
    if os.geteuid():
        (folder / "a.txt").write_text("secret")
        (folder / "a.txt").chmod(0)
    else:  # root may read everything but this
        (folder / "a.txt").symlink_to("/proc/self/mem")


def table(folder: Path, column: str, texts: list[str | None]) -> None:
    pq.write_table(pa.table({column: texts}), folder / "a.parquet")


TEXT = TextFiles(path="a.*")
LINES = TextFiles(path="a.*", document="line")
JSONL = JsonLines(path="a.jsonl")
CSV = Csv(path="a.csv")
ZEROS = bytes(40 << 20)
BAD = b"caf\xe9 \xf0\x9f\x98 ok \xef\xbf\xbd"  # Latin-1, an unfinished character, and a true U+FFFD

CASES = {
    "bytes that are not UTF-8": Case(
        put("a.txt", BAD),
        TEXT,
        error=r"a\.txt: byte 3: e9 20 f0 9f is not UTF-8 \(invalid continuation byte\)",
    ),
    "the same with errors: replace": Case(
        put("a.txt", BAD),
        TextFiles(path="a.txt", errors="replace"),
        ["caf\ufffd \ufffd ok \ufffd"],
        dropped=(("undecodable_bytes", 4), ("replacement_characters", 2)),
    ),
    "the same with errors: skip": Case(
        put("a.txt", BAD),
        TextFiles(path="a.txt", errors="skip"),
        ["caf  ok \ufffd"],
        dropped=(("undecodable_bytes", 4),),
    ),
    "NUL characters": Case(put("a.txt", "a\0b\0"), TEXT, ["a\0b\0"]),
    "a byte-order mark": Case(put("a.txt", "\ufeffa\n\ufeffb"), TEXT, ["a\n\ufeffb"]),
    "UTF-16": Case(
        put("a.txt", "hello".encode("utf-16")), TEXT, error="a.txt: byte 0: this is UTF-16, expected UTF-8"
    ),
    "CR line ends": Case(put("a.txt", "a\rb\n"), LINES, ["a\rb"]),
    "CRLF line ends": Case(put("a.txt", "a\r\nb\r\n"), LINES, ["a", "b"]),
    "an empty file": Case(put("a.txt", ""), TEXT, [], dropped=(("empty_documents", 1),)),
    "only blank lines": Case(
        put("a.txt", "\n \n\r\n"), LINES, [], dropped=(("empty_documents", 3), ("bytes", 1))
    ),
    "a line of 10 MB": Case(put("a.txt", "é" * (5 << 20) + "\nb"), LINES, ["é" * (5 << 20), "b"]),
    "a gz cut short": Case(
        put("a.gz", gzip.compress(os.urandom(999))[:500]),
        TEXT,
        error=r"a\.gz: ends too early, at byte 500 \(after \d+ bytes of text\), expected the end of its",
    ),
    "a gz bomb": Case(
        put("a.gz", gzip.compress(ZEROS)),
        TEXT,
        error=r"a\.gz: grows to more than 200 times its size .* bytes from",
    ),
    "bombs of the other kinds": Case(
        put("a.xz", lzma.compress(ZEROS)), TEXT, error=r"a\.xz: grows to more than 200 times its size"
    ),
    "a zip bomb": Case(
        put("a.zip", zipped({"a": ZEROS[: 9 << 20], "b": ZEROS[: 9 << 20], "c": ZEROS[: 9 << 20]})),
        TextFiles(path="a.zip", document="line"),
        error=r"a\.zip: grows to more than 200 times its size .* bytes from",
    ),
    "a zip with several members": Case(
        put("a.zip", zipped({"b.txt": b"2\n", "a/": b"", "a/x.txt": b"1\n", "c.txt": b""})),
        TEXT,
        ["1\n", "2\n"],
        dropped=(("empty_documents", 1),),
    ),
    "a zip in a zip": Case(
        put("a.zip", zipped({"in.zip": zipped({"a": b"a"})})),
        TEXT,
        error=r"a\.zip/in\.zip: holds zip data within a zip, expected text\. Unpack the outer file",
    ),
    "a damaged zip": Case(
        put("a.zip", zipped({"a": b"abc" * 99})[:-30]),
        TEXT,
        error=r"a\.zip: is damaged: .*Copy or compress it again",
    ),
    "names that differ in normalization": Case(
        lambda folder: [
            (folder / f"a.{unicodedata.normalize(form, 'é')}").write_text(form) for form in ("NFC", "NFD")
        ],
        TEXT,
        ["NFD", "NFC"],
    ),
    "names with spaces and line ends": Case(
        lambda folder: [(folder / name).write_text(name) for name in ("a. b", "a.\n c")],
        TEXT,
        ["a.\n c", "a. b"],
    ),
    "a link that leads to itself": Case(
        link_to_itself, TEXT, error=r"a\.txt: cannot be read: Too many levels of symbolic links"
    ),
    "folders that link in a circle": Case(
        folders_in_a_circle,
        TextFiles(path="*.txt", recursive=True),
        error=r"x/loop/loop: is a link to a folder that it lies in.*Remove the link",
    ),
    "a folder with the name of a file": Case(
        lambda folder: (folder / "a.txt").mkdir(),
        TextFiles(path="a.txt"),
        error=r"a\.txt: is a folder, expected a file",
    ),
    "a file that may not be read": Case(unreadable, TEXT, error=r"a\.txt: cannot be read: "),
    "JSON lines: a bad line": Case(
        put("a.jsonl", '{"text": "a"}\n{"text": "b"\n'), JSONL, error=r"a\.jsonl:2: is not JSON"
    ),
    "JSON lines: a missing field": Case(
        put("a.jsonl", '{"id": 1}'), JSONL, error=r"a\.jsonl:1: has no field 'text', only 'id'"
    ),
    "JSON lines: not an object": Case(
        put("a.jsonl", "7"), JSONL, error=r"a\.jsonl:1: holds a int, expected an object with the field"
    ),
    "JSON lines: an integer of 5,000 digits": Case(
        put("a.jsonl", f'{{"id": {"9" * 5000}, "text": "a"}}'),
        JSONL,
        error=r"a\.jsonl:1: is not JSON \(Exceeds the",
    ),
    "CSV with ragged rows": Case(
        put("a.csv", "id,text\n1,a\n2\n"), CSV, error=r"a\.csv:3: has 1 cells, expected 2"
    ),
    "Parquet without the column": Case(
        lambda folder: table(folder, "body", ["a"]),
        Parquet(path="a.parquet"),
        error=r"a\.parquet: has no column 'text', only 'body'",
    ),
    "Parquet with nulls": Case(
        lambda folder: table(folder, "text", ["a", None, "b"]),
        Parquet(path="a.parquet"),
        ["a", "b"],
        dropped=(("empty_documents", 1), ("null_documents", 1)),
    ),
}


def prepared(folder: Path, source: Source) -> dict[str, Any]:
    """Prepare the source, and beside it a file of other text, so that it may be empty."""
    made = prepare_corpus(
        sources=[source],
        validation=Validation(fraction=0),
        tokenizer=Byte(),
        seed=1,
        folders=[folder],
        cache=folder.parent / "cache",
        workers=1,
    )
    return dict(made.sources[0].manifest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "recipe"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", CASES)
def test_an_awkward_input_does_what_its_page_says(folder: Path, name: str):
    case = CASES[name]
    case.write(folder)

    if case.error:
        with pytest.raises(DataError, match=case.error):
            prepared(folder, case.source)
        return
    read = [text for item in case.source.inputs([folder]) for text in case.source.documents(item)]
    assert [text for text in read if text.strip()] == case.documents
    if not case.documents:
        with pytest.raises(DataError, match=r"holds no text, expected at least one document with some"):
            prepared(folder, case.source)
        (folder / "a.other").write_text(OTHER)
    manifest = prepared(folder, case.source)
    written = manifest["splits"]["train"]
    expected = case.documents or [OTHER]
    assert written["documents"] == len(expected)
    assert written["words"] == sum(len(text.split()) for text in expected)
    assert written["bytes"] == sum(len(text.encode()) for text in expected)
    assert manifest["dropped"] == {"empty_documents": 0, "bytes": 0, **dict(case.dropped)}


def test_a_file_that_vanishes_is_named(folder: Path):
    (folder / "a.txt").write_text("a")
    [item] = TEXT.inputs([folder])
    (folder / "a.txt").unlink()

    with pytest.raises(DataError, match=r"a\.txt: cannot be read: No such file.*Correct the path"):
        list(TEXT.documents(item))


class Growing(TextFiles):
    """A text file to which somebody writes while it is read."""

    def documents(self, source_input: Input) -> Any:
        yield from super().documents(source_input)
        with source_input.path.open("a") as file:
            file.write("more")


def test_a_file_that_changes_while_it_is_read_is_named_and_leaves_nothing(folder: Path):
    (folder / "a.txt").write_text("a b")

    with pytest.raises(DataError, match=r"a\.txt: changed while it was being read.*Start again"):
        prepared(folder, Growing(path="a.txt"))
    assert not list((folder.parent / "cache").glob("corpora/*/manifest.json"))


@pytest.mark.parametrize(
    "files", [5_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.nightly])]
)
def test_very_many_tiny_files_are_read_in_the_order_of_their_names(folder: Path, files: int):
    for number in range(files):
        with open(f"{folder}/{number:05d}.txt", "w") as file:
            file.write(str(number))

    manifest = prepared(folder, TextFiles(path="*.txt"))

    assert manifest["splits"]["train"]["documents"] == files
    assert manifest["splits"]["train"]["bytes"] == sum(len(str(number)) for number in range(files))
    assert [item["name"] for item in manifest["inputs"][:2]] == ["00000.txt", "00001.txt"]


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".gz", gzip.compress),
        (".zst", zstandard.ZstdCompressor().compress),
        (".bz2", bz2.compress),
        (".xz", lzma.compress),
        (".zip", lambda data: zipped({"inside.txt": data})),
    ],
)
def test_every_source_of_text_reads_every_kind_of_compression(folder: Path, ending: str, pack: Any):
    files = {
        "a.txt": ("one é\ntwo", TextFiles(path=f"a.txt{ending}", document="line")),
        "a.jsonl": ('{"text": "one é"}\n{"text": "two"}', JsonLines(path=f"a.jsonl{ending}")),
        "a.csv": ("text\none é\ntwo\n", Csv(path=f"a.csv{ending}")),
    }
    for name, (text, source) in files.items():
        (folder / f"{name}{ending}").write_bytes(pack(text.encode()))

        [item] = source.inputs([folder])
        assert list(source.documents(item)) == ["one é", "two"], name


def test_what_does_not_decode_is_counted_over_all_sections(folder: Path):
    lines = [b"good\n", b"\xffbad\n"] * 400
    (folder / "a.txt").write_bytes(b"".join(lines))

    made = [
        prepare_corpus(
            sources=[TextFiles(path="a.txt", document="line", errors="replace")],
            validation=Validation(fraction=0),
            tokenizer=Byte(),
            seed=1,
            folders=[folder],
            cache=folder / f"cache-{size}",
            workers=1,
            section_bytes=size,
        )
        .sources[0]
        .manifest
        for size in (500, 1 << 20)
    ]

    assert made[0]["dropped"] == made[1]["dropped"]
    assert made[0]["dropped"]["undecodable_bytes"] == made[0]["dropped"]["replacement_characters"] == 400
    assert made[0]["splits"]["train"]["bytes"] == 400 * len("goodbad\ufffd".encode())


@pytest.mark.parametrize("errors", ["replace", "skip"])
def test_bytes_are_conserved_where_they_do_not_decode(folder: Path, errors: Any):
    data = b"\xef\xbb\xbf" + random.Random(1).randbytes(10_000)
    (folder / "a.gz").write_bytes(gzip.compress(data))
    (folder / "b.txt").write_bytes(b" \xff ")

    manifest = prepared(folder, TextFiles(path=["a.gz", "b.txt"], errors=errors))

    dropped, written = manifest["dropped"], manifest["splits"]["train"]["bytes"]
    assert dropped["undecodable_bytes"] > 4_000
    kept = written + dropped["bytes"] - 3 * dropped.get("replacement_characters", 0)
    assert kept + dropped["undecodable_bytes"] + 3 == len(data) + 3


def test_a_place_in_a_zip_is_named_by_member_and_line(folder: Path):
    (folder / "a.zip").write_bytes(zipped({"b.jsonl": b'{"text": "a"}\n{}'}))

    with pytest.raises(DataError, match=r"a\.zip/b\.jsonl:2: has no field 'text'"):
        prepared(folder, JsonLines(path="a.zip"))


def test_a_member_that_would_need_a_password_or_an_unbounded_method_is_refused(folder: Path):
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x", b"a")
    data = bytearray(zipped({"x": b"a"}))
    data[data.index(b"PK\x01\x02") + 8] |= 1  # says in the directory that it is encrypted
    (folder / "b.zip").write_bytes(data)

    with pytest.raises(DataError, match=r"a\.zip/x: is compressed by method 14, expected stored or deflated"):
        prepared(folder, TextFiles(path="a.zip"))
    with pytest.raises(DataError, match=r"b\.zip/x: is encrypted.*Unpack the zip"):
        prepared(folder, TextFiles(path="b.zip"))


def test_no_file_grows_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_blocks, "_MAX_BYTES", 99)
    (folder / "a.gz").write_bytes(gzip.compress(os.urandom(50).hex().encode()))

    with pytest.raises(
        DataError, match=r"a\.gz: grows to more than 99 bytes when decompressed, expected less"
    ):
        prepared(folder, TextFiles(path="a.gz"))


def test_words_that_begin_like_compressed_data_are_text(folder: Path):
    for name, text in {"a.1": "BZh9 is a word", "a.2": "PKZIP is another"}.items():
        (folder / name).write_text(text)

    assert prepared(folder, TEXT)["splits"]["train"]["documents"] == 2


def test_the_page_has_every_case_and_nothing_else():
    rows = re.findall(r"^\| ([^|]+?) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    tested_alone = {"a file that vanishes", "a file that changes while it is read", "100,000 tiny files"}

    assert set(rows) - {"input", "---"} == {*CASES, *tested_alone}
    assert len(CASES) + len(tested_alone) >= 28
