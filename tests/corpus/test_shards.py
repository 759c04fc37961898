from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model_foundry.corpus.bulk import BulkEncoder
from model_foundry.corpus.chunks import SideChunk, encode_parts
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.reading import Part
from model_foundry.corpus.shards import NpyFile, SideWriter
from model_foundry.errors import DataError
from model_foundry.tokenizer.byte import Byte


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    folder = tmp_path_factory.mktemp("byte")
    Byte().write(folder, iter(()), [])
    return TextEncoder(folder)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.int64])
@pytest.mark.parametrize("length", [0, 1, 100_000])
def test_a_file_that_was_appended_to_loads_as_numpy_would_have_saved_it(
    tmp_path: Path, dtype: type, length: int
):
    values = (np.arange(length) % 200).astype(dtype)
    file = NpyFile(tmp_path / "ours.npy", dtype)

    for start in range(0, length, 33_333):
        file.append(values[start : start + 33_333])
    file.close()
    np.save(tmp_path / "numpy.npy", values)

    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
    assert np.array_equal(np.load(tmp_path / "ours.npy", mmap_mode="r" if length else None), values)


def test_documents_end_in_their_token_and_the_tables_say_where(tmp_path: Path, encoder: TextEncoder):
    parts = [Part(0, "a b", "train"), Part(2, "é", "train"), Part(3, "cd e", "train", is_complete=False)]
    writer = SideWriter(tmp_path, "train", encoder)

    for chunk in encode_parts(iter(parts), BulkEncoder(encoder, None)):
        writer.append(chunk.sides["train"])
    summary = writer.close()

    def table(name: str) -> list[int]:
        return np.load(tmp_path / "train" / f"{name}.npy").tolist()

    assert table("tokens-00000") == [*b"a b", 256, *"é".encode(), 256, *b"cd e"]
    assert table("words-00000") == [1, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1]
    assert table("document_offsets") == [0, 4, 7, 11]
    assert table("document_words") == [2, 1, 2]
    assert table("document_bytes") == [3, 2, 4]
    assert table("document_ids") == [0, 2, 3]
    assert summary == {
        "documents": 3,
        "words": 5,
        "bytes": 9,
        "tokens": 11,
        "shards": [{"tokens": "train/tokens-00000.npy", "words": "train/words-00000.npy", "length": 11}],
    }


def test_shards_hold_a_fixed_number_of_tokens_wherever_documents_end(tmp_path: Path, encoder: TextEncoder):
    writer = SideWriter(tmp_path, "train", encoder, shard_tokens=4)

    parts = iter([Part(0, "abcdef", "train"), Part(1, "g", "train")])
    for chunk in encode_parts(parts, BulkEncoder(encoder, None)):
        writer.append(chunk.sides["train"])
    shards = writer.close()["shards"]

    assert [shard["length"] for shard in shards] == [4, 4, 1]
    loaded = [np.load(tmp_path / shard["tokens"]).tolist() for shard in shards]
    assert loaded == [[*b"abcd"], [*b"ef", 256, *b"g"], [256]]


class Dropping(TextEncoder):
    """Keeps nothing of a text with a control character."""

    spelled_tokens = None

    def encode_flat(self, texts):
        kept = [self.encode_batch([text])[0] if "\x01" not in text else np.array([], int) for text in texts]
        return np.concatenate(kept).astype(np.uint32), np.array([len(ids) for ids in kept])

    def encode_with_words(self, texts):
        ids, lengths = self.encode_flat(texts)
        return [(part, np.ones(len(part), int)) for part in np.split(ids, np.cumsum(lengths)[:-1])]


def test_a_text_of_which_no_token_is_kept_leaves_its_words_on_the_end_of_document(encoder: TextEncoder):
    parts = [Part(0, "\x01 \x02", "train", is_complete=False), Part(1, "a", "train")]

    [chunk] = encode_parts(iter(parts), BulkEncoder(Dropping(encoder.folder), None))

    assert chunk.sides["train"].tokens.tolist() == [256, *b"a", 256]
    assert chunk.sides["train"].words.tolist() == [2, 1, 0]
    assert chunk.sides["train"].rows.tolist() == [[1, 2, 3, 0], [2, 1, 1, 1]]


def test_a_token_with_more_words_than_a_byte_can_count_is_refused(encoder: TextEncoder):
    with pytest.raises(
        DataError,
        match=r"with the text '.x01 .x01.*: 256 or more words begin in one token, expected at most 255",
    ):
        list(
            encode_parts(iter([Part(7, "\x01 " * 256, "train")]), BulkEncoder(Dropping(encoder.folder), None))
        )


def test_words_that_do_not_add_up_are_our_own_mistake(tmp_path: Path, encoder: TextEncoder):
    chunk = SideChunk(np.array([97, 32, 98]), np.array([1, 0, 0], np.uint8), np.array([[3, 2, 3, 0]]))

    with SideWriter(tmp_path, "train", encoder) as writer:
        writer.append(chunk)

        with pytest.raises(AssertionError, match="1 words in tokens, 2 in documents"):
            writer.close()


def test_a_vocabulary_beyond_16_bits_gets_32(tmp_path: Path):
    from tokenizers import Tokenizer, models

    from model_foundry.tokenizer._files import write_folder

    for size, expected in ((2**16, np.uint16), (2**16 + 1, np.uint32)):
        folder = tmp_path / str(size)
        folder.mkdir()
        vocabulary = {f"w{number}": number for number in range(size)}
        write_folder(
            folder, Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="w0")), {"eos_token": "w1"}
        )

        with SideWriter(folder, "train", TextEncoder(folder)) as writer:
            assert writer.dtype == expected
