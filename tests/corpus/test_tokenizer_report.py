from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.tokenizer_report import describe, measure
from model_foundry.errors import DataError
from model_foundry.tokenizer import END_OF_DOCUMENT, Tokenizer
from model_foundry.tokenizer.bpe import Bpe
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.wordpiece import Wordpiece


def encoder(part: Tokenizer, folder: Path, text: str = "ab ab ba ba c") -> TextEncoder:
    folder.mkdir()
    part.write(folder, iter([text]), [])
    return TextEncoder(folder)


def test_bytes_are_counted_by_hand(tmp_path: Path):
    used = measure(encoder(Byte(), tmp_path / "t"), iter(["ab c", "\u00e9\n"]), "here")

    assert (used.documents, used.words, used.bytes, used.tokens) == (2, 3, 7, 7)
    assert used.tokens_per_word == pytest.approx(7 / 3)
    assert used.bytes_per_token == 1
    assert (used.unknown_share, used.byte_share, used.changed_pieces) == (0, None, 0)
    assert used.unused_ids == 256 - 7  # a, b, space, c, two of the accented letter, line break
    assert used.unused_share == (256 - 7) / 256


def test_what_is_unknown_and_does_not_come_back_is_counted(tmp_path: Path):
    used = measure(encoder(Character(), tmp_path / "t"), iter(["abz", "ab", "zz"]), "here")

    assert used.unknown_share == 3 / 7
    assert used.changed_pieces == 2
    assert used.unused_ids == 2  # c and the space; the special tokens are not counted
    assert used.unused_share == 2 / 4


def test_characters_that_are_written_in_bytes_are_counted(tmp_path: Path):
    text = "ab ab ba ba c " * 9
    used = measure(encoder(Bpe(vocab_size=263), tmp_path / "t", text), iter(["c\u00e9"]), "here")

    assert (used.tokens, used.byte_share) == (3, 2 / 3)
    assert (used.unknown_share, used.changed_pieces) == (0, 0)


def test_a_long_text_is_counted_like_its_parts(tmp_path: Path):
    pieces = encoder(Byte(), tmp_path / "t")

    used = measure(pieces, iter(["word and word\n" * 100_000]), "here")

    assert (used.documents, used.words, used.tokens) == (1, 300_000, 1_400_000)
    assert used.changed_pieces == 0


def test_a_tokenizer_is_described_without_a_text(tmp_path: Path):
    part = Wordpiece(vocab_size=10, mask_token="[MASK]")

    found = describe(encoder(part, tmp_path / "t"))

    assert found["special_tokens"] == {0: END_OF_DOCUMENT, 1: "<unk>", 2: "[MASK]"}
    assert found["roles"] == {"eos": 0, "mask": 2, "unk": 1}
    assert (found["model"], found["vocab_size"], found["normalisation"]) == ("WordPiece", 10, "lossy")


@pytest.mark.parametrize("texts", [[], [" \n"]])
def test_a_text_without_words_is_named(tmp_path: Path, texts: list[str]):
    with pytest.raises(DataError, match=r"a\.txt: there is no word in it.* Name files with text"):
        measure(encoder(Byte(), tmp_path / "t"), iter(texts), "a.txt")
