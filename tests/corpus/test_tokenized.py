"""Corpora that came as tokens, beside the same corpora as text."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers.models import WordPiece

from model_foundry.corpus import Validation
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.filter.exact_duplicates import ExactDuplicates
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.corpus.source import Source
from model_foundry.corpus.source.datatrove import Datatrove
from model_foundry.corpus.source.megatron import Megatron
from model_foundry.corpus.source.nanogpt import NanoGpt
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.corpus.steps import DocumentStep
from model_foundry.errors import DataError, RecipeError
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.pretrained import Pretrained

TEXTS = [f"Number {number} says\u2003é and \u65e5\u672c. " * (1 + number % 3) for number in range(60)]
Write = Callable[[Path, list[list[int]]], object]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    ByteBpe(vocab_size=300).write(folder, iter(TEXTS), [])
    return folder


def prepared(folder: Path, tokenizer: Any, source: Source, **changes: Any) -> PreparedCorpus:
    arguments: dict[str, Any] = {
        "validation": Validation(fraction=0),
        "seed": 1,
        "folders": [folder],
        "cache": folder / "cache",
        "workers": 1,
    }
    made = Pretrained(path=str(tokenizer)) if isinstance(tokenizer, Path) else tokenizer
    return prepare_corpus(sources=[source], tokenizer=made, **{**arguments, **changes})


def write_nanogpt(folder: Path, documents: list[list[int]]) -> None:
    np.concatenate([np.array(ids, dtype=np.uint16) for ids in documents]).tofile(folder / "a.bin")


def write_datatrove(folder: Path, documents: list[list[int]]) -> None:
    ids = [token for document in documents for token in document]
    (folder / "a.ds").write_bytes(struct.pack(f"<{len(ids)}H", *ids))
    ends = np.cumsum([len(document) for document in documents]).tolist()
    (folder / "a.ds.index").write_bytes(struct.pack(f"<{len(ends)}Q", *ends))


def write_megatron(folder: Path, documents: list[list[int]]) -> None:
    """Every document in two sequences, as int32 (code 4)."""
    sequences = [half for ids in documents for half in (ids[:2], ids[2:])]
    lengths = [len(sequence) for sequence in sequences]
    starts = [4 * sum(lengths[:number]) for number in range(len(lengths))]
    bounds = list(range(0, len(sequences) + 1, 2))
    head = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 4, len(sequences), len(bounds))
    tables = (f"<{len(lengths)}i", lengths), (f"<{len(starts)}q", starts), (f"<{len(bounds)}q", bounds)
    (folder / "a.idx").write_bytes(head + b"".join(struct.pack(form, *table) for form, table in tables))
    (folder / "a.bin").write_bytes(b"".join(struct.pack(f"<{len(ids)}i", *ids) for ids in sequences))


KINDS: dict[str, tuple[Write, type[Any], str]] = {
    "nanogpt": (write_nanogpt, NanoGpt, "a.bin"),
    "datatrove": (write_datatrove, Datatrove, "a.ds"),
    "megatron": (write_megatron, Megatron, "a.bin"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_become_the_shards_of_their_text(tmp_path: Path, tokenizer: Path, kind: str):
    write, source, path = KINDS[kind]
    encoder = TextEncoder(tokenizer)
    write(tmp_path, [[*ids.tolist(), encoder.eos_id] for ids in encoder.encode_batch(TEXTS)])
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))

    tokens = prepared(tmp_path, tokenizer, source(path=path, end_of_document=encoder.eos_id)).sources[0]
    text = prepared(tmp_path, tokenizer, TextFiles(path="a.txt", document="line")).sources[0]

    assert tokens.manifest["splits"] == text.manifest["splits"]
    for file in ("tokens-00000", "words-00000", "document_offsets", "document_words", "document_bytes"):
        names = [one.folder / "train" / f"{file}.npy" for one in (tokens, text)]
        assert names[0].read_bytes() == names[1].read_bytes(), file


def test_documents_are_held_out_and_sections_change_nothing(tmp_path: Path, tokenizer: Path):
    encoder = TextEncoder(tokenizer)
    write_datatrove(tmp_path, [ids.tolist() for ids in encoder.encode_batch(TEXTS)])
    found = [
        prepared(
            tmp_path,
            tokenizer,
            Datatrove(path="a.ds"),
            validation=Validation(fraction=0.1),
            section_bytes=size,
            cache=tmp_path / f"cache-{size}",
        )
        for size in (100, 1 << 24)
    ]

    assert found[0].sources[0].manifest["splits"] == found[1].sources[0].manifest["splits"]
    assert found[0].sources[0].manifest["splits"]["validation"]["documents"] == 6
    assert found[0].sources[0].manifest["files"] == found[1].sources[0].manifest["files"]


def test_tokens_that_end_within_a_character_are_counted_by_their_bytes(tmp_path: Path, tokenizer: Path):
    encoder = TextEncoder(tokenizer)
    spelled = {data: number for number, data in (encoder.spelled_tokens or {}).items()}
    ids = [[spelled[byte] for byte in one] for one in ((b"a", b"\xe2"), (b"\x80", b" ", b"b"))]
    write_datatrove(tmp_path, ids)

    counts = prepared(tmp_path, tokenizer, Datatrove(path="a.ds")).sources[0].manifest["splits"]["train"]

    assert (counts["documents"], counts["bytes"], counts["words"], counts["tokens"]) == (2, 5, 3, 7)


class Same(DocumentStep):
    """Changes nothing."""

    def apply(self, document: Any, counts: Any) -> Any:
        return document


def test_what_cannot_be_is_refused(tmp_path: Path, tokenizer: Path):
    write_nanogpt(tmp_path, [[1, 2, 299, 5000]])
    source = NanoGpt(path="a.bin")

    with pytest.raises(DataError, match=r"a\.bin: token 5000 is not in the vocabulary of \d+ ids\. Name the"):
        prepared(tmp_path, tokenizer, source)
    with pytest.raises(DataError, match=r"end_of_document is 7, but the tokenizer's is \d+ \(.*\)\. Name"):
        prepared(tmp_path, tokenizer, NanoGpt(path="a.bin", end_of_document=7))
    with pytest.raises(
        RecipeError, match=r"nanogpt holds tokens, expected the tokenizer that made.*byte_bpe"
    ):
        prepared(tmp_path, ByteBpe(vocab_size=300), source)
    with pytest.raises(RecipeError, match=r"nanogpt holds tokens; filters and interventions read text"):
        prepared(tmp_path, tokenizer, source, steps=[Same()])
    with pytest.raises(RecipeError, match=r"filters and interventions read text"):
        prepared(tmp_path, tokenizer, source, filters=[ExactDuplicates()])
    np.array([2**21], dtype=np.uint32).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin: holds the token 2097152, expected at most 1048575"):
        prepared(tmp_path, tokenizer, NanoGpt(path="a.bin", token_bytes=4))
    (tmp_path / "a.bin").write_bytes(b"abc")
    with pytest.raises(DataError, match=r"a\.bin: has 3 bytes, expected a whole number of tokens of 2 bytes"):
        prepared(tmp_path, tokenizer, source)


def test_a_tokenizer_whose_tokens_do_not_spell_the_text_is_refused(tmp_path: Path):
    folder = tmp_path / "wordpiece"
    folder.mkdir()
    words = tokenizers.Tokenizer(WordPiece({"[UNK]": 0, "[SEP]": 1, "a": 2}, unk_token="[UNK]"))
    words.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"sep_token": "[SEP]", "unk_token": "[UNK]"}')
    write_nanogpt(tmp_path, [[1, 2]])

    with pytest.raises(DataError, match=r"a\.bin: words and bytes cannot be counted.*Use the text itself"):
        prepared(tmp_path, folder, NanoGpt(path="a.bin"))


def test_files_that_do_not_fit_their_index_are_named(tmp_path: Path):
    write_datatrove(tmp_path, [[1, 2], [3]])
    write_megatron(tmp_path, [[1, 2, 3], [4, 5, 6]])
    index = (tmp_path / "a.idx").read_bytes()
    (tmp_path / "a.ds").write_bytes(b"12")

    def read(source: Source) -> None:
        for item in source.inputs([tmp_path]):
            list(source.documents(item))

    with pytest.raises(DataError, match=r"a\.ds: has 2 bytes, expected 3 tokens of 2 or 4 bytes"):
        read(Datatrove(path="a.ds"))
    for data, message in {
        index[:50]: "ends too early",
        b"X" + index[1:]: "begins with b'XMIDIDX",
        index[:-8] + bytes(8): "do not follow one another",
    }.items():
        (tmp_path / "a.idx").write_bytes(data)
        with pytest.raises(DataError, match=rf"a\.idx: .*{message}"):
            read(Megatron(path="a.bin"))
    (tmp_path / "a.idx").write_bytes(index)
    (tmp_path / "a.bin").write_bytes(bytes(4))
    with pytest.raises(DataError, match=r"a\.bin: has 1 tokens, expected 6 as its index says"):
        read(Megatron(path="a.bin"))
