"""A corpus that cannot be prepared is named, and leaves nothing that looks like one."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.reading import Tally
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.writing import check_conservation
from model_foundry.errors import DataError, RecipeError
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained
from tests.corpus.preparing import Reads, prepared


@pytest.mark.parametrize(
    "tokenizer", [Byte(), Character(), ByteBpe(vocab_size=257)], ids=lambda part: part.part_name()
)
@pytest.mark.parametrize("content", ["", "\n \n\n"])
def test_a_corpus_without_text_is_named_and_leaves_nothing(tmp_path: Path, tokenizer: Any, content: str):
    (tmp_path / "a.txt").write_text(content)

    with pytest.raises(DataError, match=r"source text_files-0: .*\.txt holds no text"):
        prepared(tmp_path, sources=[TextFiles(path="a.txt", document="line")], tokenizer=tokenizer)

    assert [path for path in (tmp_path / "cache" / "corpora").glob("*") if path.is_dir()] == []


def test_bad_text_is_named_and_leaves_nothing(texts: Path):
    (texts / "texts" / "0005.txt").write_bytes(b"fine so far \xff")

    with pytest.raises(DataError, match=r"0005\.txt: byte 12: ff is not UTF-8"):
        prepared(texts)

    assert [path.suffix for path in (texts / "cache" / "tokenizers").iterdir()] == [".lock"]


def test_a_single_document_cannot_be_divided_by_documents(tmp_path: Path):
    (tmp_path / "a.txt").write_text("a single document\n\nof two paragraphs")

    with pytest.raises(DataError, match=r"has only one document.*split: tail.*document: blank_line"):
        prepared(tmp_path, sources=[TextFiles(path="a.txt")])


def test_a_file_that_changes_while_it_is_read_leaves_nothing(texts: Path):
    class Changing(Reads):
        def documents(self, source_input: Any) -> Any:
            yield from super().documents(source_input)
            if source_input.name.endswith("0003.txt"):
                source_input.path.write_text(source_input.path.read_text() + "more")

    sources = [Changing(path="texts/*.txt", note=str(texts / "note"))]

    with pytest.raises(DataError, match=r"0003\.txt: changed while it was being read"):
        prepared(texts, sources=sources, tokenizer=Byte())

    assert not list((texts / "cache" / "corpora").glob("*/manifest.json"))


def test_what_was_read_and_written_must_agree():
    with pytest.raises(AssertionError, match=r"read .*'words': 2.* wrote .*'words': 3"):
        check_conservation(
            "x",
            {"train": {"documents": 1, "words": 3, "bytes": 4}},
            Tally(documents_by_input=[1], words=2, bytes=4),
        )


def test_a_tokenizer_that_cannot_be_had_leaves_nothing(texts: Path):
    with pytest.raises(RecipeError, match=r"no folder './nowhere'"):
        prepared(texts, tokenizer=Pretrained(path="./nowhere"))

    assert not (texts / "cache" / "corpora").exists()


def test_a_file_that_is_trained_on_and_held_out_is_warned_of(texts: Path, caplog: pytest.LogCaptureFixture):
    shutil.copy(texts / "texts" / "0003.txt", texts / "copy.txt")

    with caplog.at_level(logging.WARNING):
        prepared(texts, validation=Validation(sources=[TextFiles(path="copy.txt")]))

    assert "held_out-text_files-0: copy.txt is in the training text, too" in caplog.text
