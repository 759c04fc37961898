from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.corpus import _blocks
from model_foundry.corpus._files import text_streams
from model_foundry.corpus.source import Input
from model_foundry.errors import DataError

TEXT = "".join(random.Random(1).choices("abc é😀\n\r\u2028", k=300_000))
COMPRESS = {
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def read_text(path: Path) -> Iterator[str]:
    [stream] = text_streams(Input(path, path.name))
    return stream.blocks


def read_lines(path: Path) -> Iterator[str]:
    [stream] = text_streams(Input(path, path.name))
    return stream.lines()


def whole(path: Path) -> str:
    return "".join(read_text(path))


@pytest.mark.parametrize("ending", COMPRESS)
def test_compressed_text_reads_as_the_text(tmp_path: Path, ending: str):
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(COMPRESS[ending](TEXT.encode()))

    assert whole(path) == TEXT


@pytest.mark.parametrize("ending", COMPRESS)
def test_archives_one_after_the_other_in_a_file_are_all_read(tmp_path: Path, ending: str):
    path = tmp_path / f"a{ending}"
    path.write_bytes(
        COMPRESS[ending](b"one\n") + COMPRESS[ending](TEXT.encode()) + COMPRESS[ending](b"three")
    )

    assert whole(path) == f"one\n{TEXT}three"


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_archive_is_an_error_and_not_a_shorter_text(tmp_path: Path, ending: str, share: float):
    path = tmp_path / f"a{ending}"
    data = COMPRESS[ending](TEXT.encode())
    path.write_bytes(data[: int(len(data) * share)])

    with pytest.raises(
        DataError,
        match=rf"a\.\w+: ends too early, at byte {os.path.getsize(path)} .*Copy or compress it again",
    ):
        whole(path)


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_damaged_archive_is_named(tmp_path: Path, ending: str):
    path = tmp_path / f"a{ending}"
    data = bytearray(COMPRESS[ending](TEXT.encode()))
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)

    with pytest.raises(DataError, match=r"a\.\w+: is damaged|is not UTF-8"):
        whole(path)


@pytest.mark.parametrize("ending", COMPRESS)
def test_what_is_not_compressed_as_its_name_says_is_refused(tmp_path: Path, ending: str):
    plain, packed = tmp_path / f"a{ending}", tmp_path / "b.txt"
    plain.write_text("hello")
    packed.write_bytes(COMPRESS[ending](b"hello"))

    with pytest.raises(DataError, match=rf"begins with 68 65 6c 6c, expected {ending[1:]} data"):
        whole(plain)
    with pytest.raises(
        DataError, match=rf"holds {ending[1:]} data, expected plain text\. Rename it to b\.txt\{ending}"
    ):
        whole(packed)


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_archive_that_grows_absurdly_is_stopped_early(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_blocks, "_FREE_EXPANSION_BYTES", 1 << 20)
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(COMPRESS[ending](bytes(80 << 20)))

    with pytest.raises(DataError, match=r"grows to more than 200 times its size when decompressed"):
        for _ in read_text(path):
            pass


def test_a_text_that_compresses_well_is_read_as_long_as_it_is_small(tmp_path: Path):
    path = tmp_path / "zeros.gz"
    path.write_bytes(gzip.compress(b"a" * (15 << 20)))

    assert len(whole(path)) == 15 << 20


@pytest.mark.parametrize("position", [0, 5, (1 << 20) - 1, 1 << 20, (1 << 20) + 3, 3_000_000])
def test_a_bad_byte_is_named_by_its_offset_in_the_file(tmp_path: Path, position: int):
    data = bytearray(b"a" * 3_000_001)
    data[position] = 0xFF
    path = tmp_path / "a.txt"
    path.write_bytes(data)

    with pytest.raises(DataError, match=rf"a\.txt: byte {position}: ff.*expected UTF-8"):
        whole(path)


def test_a_character_cut_off_at_the_end_is_named_by_its_first_byte(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes("abc€".encode()[:-1])

    with pytest.raises(DataError, match="byte 3: e2 82 is not UTF-8"):
        whole(path)


def test_the_offset_counts_decompressed_bytes(tmp_path: Path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"x" * 2_000_000 + b"\xc0"))

    with pytest.raises(DataError, match="byte 2000000: c0"):
        whole(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named_where_its_mark_says_so_and_never_taken_for_text(tmp_path: Path, encoding: str):
    path = tmp_path / "a.txt"
    mark = "" if encoding == "utf-16" else "\ufeff"
    path.write_bytes((mark + "hello é").encode(encoding))

    with pytest.raises(DataError, match="byte 0: this is UTF-16, expected UTF-8"):
        whole(path)


def test_half_of_a_surrogate_pair_is_not_utf8(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"ab" + "\ud800".encode("utf-8", "surrogatepass"))

    with pytest.raises(DataError, match="byte 2: ed a0 80 is not UTF-8"):
        whole(path)


def test_an_empty_file_has_no_text_and_no_lines(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.touch()

    assert whole(path) == ""
    assert list(read_lines(path)) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("secret")
    path.chmod(0)

    with pytest.raises(DataError, match=r"a\.txt: cannot be read: Permission denied"):
        whole(path)


def test_a_file_that_vanished_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read: No such file.*Correct the path"):
        whole(tmp_path / "gone.txt")


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet="a\n\ré€😀", max_size=60), block=st.integers(1, 9))
def test_neither_text_nor_lines_depend_on_the_size_of_blocks(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int
):
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(text.encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_blocks, "BLOCK_BYTES", block)
        lines = list(read_lines(path))
        read = whole(path)

    expected = text.split("\n")
    assert read == text
    assert lines == (expected if expected[-1] else expected[:-1])
