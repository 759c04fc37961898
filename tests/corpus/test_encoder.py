from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from model_foundry.corpus import _pieces, _words
from model_foundry.corpus._pieces import cut_between_words
from model_foundry.corpus._words import _LAST_SPACE, count_words, word_starts
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError
from model_foundry.tokenizer import Tokenizer as TokenizerPart
from model_foundry.tokenizer._files import write_folder
from model_foundry.tokenizer.bpe import Bpe
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained
from model_foundry.tokenizer.unigram import Unigram

SAMPLE = (
    "The cat's hat, 3 times.\r\n  def f(x):\n\treturn x\n\n\n    \n  \t  a's b's c's!!! ??? \r\n\r\n"
    "Étude №5: naïve 日本語 😀 <|endoftext|>\u3000end\n"
) * 20
TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("ab 'st\n\r\t\x00\x1c\x85\xa0\u2028\u3000é😀<|>"),
    ),
    max_size=80,
)


def make(part: TokenizerPart, folder: Path) -> TextEncoder:
    folder.mkdir()
    part.write(folder, iter([SAMPLE]), [])
    return TextEncoder(folder)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextEncoder]:
    folder = tmp_path_factory.mktemp("tokenizers")
    made: list[TokenizerPart] = [ByteBpe(vocab_size=300), Byte(), Character()]
    made += [Unigram(vocab_size=300, character_coverage=0.99), Bpe(vocab_size=330, character_coverage=0.99)]
    parts = {part.part_name(): part for part in made}
    return {name: make(part, folder / name) for name, part in parts.items()} | {
        "lowercase": lowercase(folder / "lowercase")
    }


def lowercase(folder: Path) -> TextEncoder:
    """Return a byte-level tokenizer that is not faithful: it lowers, normalises and drops characters."""
    pipeline = Tokenizer(
        models.BPE(vocab={sign: n for n, sign in enumerate(pre_tokenizers.ByteLevel.alphabet())}, merges=[])
    )
    pipeline.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.BertNormalizer(lowercase=False)]
    )
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    pipeline.decoder = decoders.ByteLevel()
    pipeline.add_special_tokens(["</s>", "<s>", "<pad>"])
    folder.mkdir()
    roles = {
        "sep_token": {"content": "</s>"},
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "model_max_length": 5,
    }
    write_folder(folder, pipeline, roles)
    return TextEncoder(folder)


each = pytest.mark.parametrize("name", ["byte_bpe", "byte", "character", "unigram", "bpe", "lowercase"])
faithful = pytest.mark.parametrize("name", ["byte_bpe", "byte", "unigram", "bpe"])


def test_no_white_space_lies_beyond_the_table():
    assert max(point for point in range(sys.maxunicode + 1) if chr(point).isspace()) == _LAST_SPACE


def test_bytes_are_counted_at_the_borders_of_every_length():
    letters = "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff"

    _, in_bytes = word_starts(" ".join(letters))

    assert np.diff(in_bytes).tolist() == [len(letter.encode()) + 1 for letter in letters[:-1]]


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, at_once=st.integers(1, 7))
def test_words_are_counted_as_split_does_however_many_characters_are_taken_at_once(text: str, at_once: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_words, "_COUNTED_CHARACTERS", at_once)
        assert count_words(text) == len(text.split())


@settings(max_examples=200, deadline=None)
@given(text=TEXTS)
def test_word_starts_are_where_split_finds_them(text: str):
    characters, in_bytes = word_starts(text)

    assert [text[start:].split()[0] for start in characters.tolist()] == text.split()
    assert in_bytes.tolist() == [len(text[:start].encode()) for start in characters.tolist()]


@faithful
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_the_words_of_every_prefix_are_counted_exactly(
    encoders: dict[str, TextEncoder], name: str, text: str
):
    encoder = encoders[name]
    table = encoder.bytes_per_token
    assert table is not None

    [(ids, words)] = encoder.encode_with_words([text])

    data, ends = text.encode(), np.cumsum(table[ids])
    assert len(words) == len(ids)
    for end, count in zip(ends.tolist(), np.cumsum(words).tolist(), strict=True):
        # a word has begun in the prefix if its first byte has
        assert count == sum(len(text[:at].encode()) < end for at in word_starts(text)[0].tolist()), data[:end]


@faithful
@settings(max_examples=150, deadline=None)
@given(text=TEXTS)
def test_any_text_is_decoded_to_itself_and_its_tokens_add_up_to_its_bytes(
    encoders: dict[str, TextEncoder], name: str, text: str
):
    encoder = encoders[name]
    [ids] = encoder.encode_batch([text])

    assert encoder.decode(ids.tolist()) == text
    assert encoder.bytes_per_token is not None
    assert int(encoder.bytes_per_token[ids].sum()) == len(text.encode())


@each
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_all_words_are_counted_if_there_is_a_token_to_hold_them(
    encoders: dict[str, TextEncoder], name: str, text: str
):
    [(ids, words)] = encoders[name].encode_with_words([text])

    assert int(words.sum()) == (len(text.split()) if len(ids) else 0)


def test_words_of_a_tokenizer_that_changes_text_begin_where_its_offsets_say(encoders: dict[str, TextEncoder]):
    encoder = encoders["lowercase"]
    assert encoder.bytes_per_token is None

    [(ids, words)] = encoder.encode_with_words(["Ab É c"])

    assert encoder.decode(ids.tolist()) == " ab e\u0301 c"
    # the space put in front of the text reports the place of its first letter; é is a letter and two bytes
    assert words.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_tokens_are_numbered_by_the_words_that_the_tokenizer_splits_a_text_into(
    encoders: dict[str, TextEncoder],
):
    text = "xyz qq.zz cats"
    [ids] = encoders["byte_bpe"].encode_batch([text])

    [numbers] = encoders["byte_bpe"].word_numbers([text])

    words = [encoders["byte_bpe"].decode(ids[numbers == word]) for word in np.unique(numbers)]
    assert words == ["xyz", " qq", ".", "zz", " cats"]


def test_a_tokenizer_that_does_not_split_has_the_words_between_white_space(encoders: dict[str, TextEncoder]):
    [numbers] = encoders["character"].word_numbers(["ab. cd"])

    assert [(numbers == word).sum() for word in np.unique(numbers)] == [4, 2]
    assert [len(one) for one in encoders["byte"].word_numbers(["", "a"])] == [0, 1]


def test_an_unknown_character_is_one_token_and_words_stay_exact(encoders: dict[str, TextEncoder]):
    encoder = encoders["character"]

    [(ids, words)] = encoder.encode_with_words(["The Ж日 hat"])

    assert encoder.decode(ids.tolist()) == "The <unk>日 hat"
    assert words.tolist() == [1, 0, 0, 0, 1, 0, 0, 1, 0, 0]
    assert encoder.bytes_per_token is not None
    assert encoder.bytes_per_token[ids].tolist() == [1, 1, 1, 1, 0, 3, 1, 1, 1, 1]


@each
def test_the_spelling_of_a_special_token_in_a_text_is_text(encoders: dict[str, TextEncoder], name: str):
    encoder = encoders[name]

    [ids] = encoder.encode_batch(["a <|endoftext|> b </s>"])

    assert encoder.eos_id not in ids.tolist()


def test_roles_are_read_from_the_configuration_and_absent_ones_are_none(encoders: dict[str, TextEncoder]):
    ours, theirs = encoders["byte"], encoders["lowercase"]

    assert (ours.vocab_size, ours.eos_id, ours.bos_id, ours.pad_id) == (257, 256, None, None)
    assert (theirs.eos_token, theirs.eos_id, theirs.bos_id, theirs.pad_id) == ("</s>", 256, 257, 258)


def test_special_tokens_stand_for_no_bytes(encoders: dict[str, TextEncoder]):
    for name in ("byte_bpe", "byte", "character"):
        encoder = encoders[name]
        assert encoder.bytes_per_token is not None
        assert encoder.bytes_per_token.dtype == np.int32
        assert encoder.bytes_per_token.shape == (encoder.vocab_size,)
        assert encoder.bytes_per_token[encoder.eos_id] == 0


def test_truncation_and_padding_saved_in_a_tokenizer_are_ignored(tmp_path: Path):
    make(Byte(), tmp_path / "byte")
    pipeline = Tokenizer.from_file(str(tmp_path / "byte" / "tokenizer.json"))
    pipeline.enable_truncation(4)
    pipeline.enable_padding(length=9)
    pipeline.save(str(tmp_path / "byte" / "tokenizer.json"))

    ids = TextEncoder(tmp_path / "byte").encode_batch(["abcdefgh", "a"])

    assert [len(of_text) for of_text in ids] == [8, 1]


def test_the_identity_is_of_the_file_and_the_token_between_documents(tmp_path: Path):
    encoder = make(Byte(), tmp_path / "byte")
    config = tmp_path / "byte" / "tokenizer_config.json"
    expected = hashlib.sha256((tmp_path / "byte" / "tokenizer.json").read_bytes() + b"\0<|endoftext|>")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"eos_token": "a"}))

    assert encoder.sha256 == expected.hexdigest()
    assert TextEncoder(tmp_path / "byte").sha256 != encoder.sha256


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot be read as a tokenizer: .*Expected tokenizer.json"):
        TextEncoder(tmp_path)


def test_a_damaged_tokenizer_is_named(tmp_path: Path):
    make(Byte(), tmp_path / "byte")
    (tmp_path / "byte" / "tokenizer.json").write_text("{}")

    with pytest.raises(DataError, match="cannot be read as a tokenizer"):
        TextEncoder(tmp_path / "byte")


def test_a_tokenizer_without_a_token_for_between_documents_says_what_to_do(tmp_path: Path):
    make(Byte(), tmp_path / "byte")
    (tmp_path / "byte" / "tokenizer_config.json").write_text('{"eos_token": "not there"}')

    with pytest.raises(
        DataError, match=r"names no end-of-sequence or separator token.*end_of_document: TOKEN"
    ):
        TextEncoder(tmp_path / "byte")


@pytest.mark.parametrize("name", ["byte_bpe", "byte", "character", "unigram", "bpe"])
@settings(max_examples=300, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(
            ["a", " b", "\n", "'s", " 's", " ", "\n\n", "  ", "12", "!?", "\r", "\t", *"\x1c\x85\xa0\u3000é"]
        ),
        max_size=40,
    )
)
def test_cutting_a_text_changes_no_token_and_no_word(
    encoders: dict[str, TextEncoder], name: str, texts: list[str]
):
    encoder, text = encoders[name], "".join(texts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_pieces, "PIECE_CHARACTERS", 2)
        pieces = list(encoder.pieces(text))
    [(ids, words)] = encoder.encode_with_words([text])
    cut = encoder.encode_with_words(pieces)

    assert "".join(pieces) == text
    assert np.concatenate([part for part, _ in cut]).tolist() == ids.tolist()
    assert np.concatenate([part for _, part in cut]).tolist() == words.tolist()


def test_gpt2_gives_a_cut_text_the_tokens_of_the_whole(test_data: Path, tmp_path: Path):
    Pretrained(path="tokenizers/gpt2").write(tmp_path, iter(()), [test_data])
    encoder = TextEncoder(tmp_path)
    sources = [*test_data.glob("udhr/*.txt"), test_data / "tinyshakespeare" / "input.txt"]

    for path in sources:
        text = path.read_bytes().decode()[:50_000]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_pieces, "PIECE_CHARACTERS", 7)
            pieces = list(encoder.pieces(text))
        assert (
            np.concatenate(encoder.encode_batch(pieces)).tolist() == encoder.encode_batch([text])[0].tolist()
        )
    assert len(sources) > 20


def test_a_tokenizer_that_is_not_known_to_be_safe_gets_whole_texts(encoders: dict[str, TextEncoder]):
    assert len(list(encoders["lowercase"].pieces("a\n" * 100_000))) == 1
    assert len(list(encoders["byte"].pieces("a\n" * 100_000))) == 4


def test_a_text_without_a_place_to_cut_stays_whole():
    for text in ("a" * 100_000, "a\t" * 100_000, "a \t" * 100_000, "a\r" * 100_000):
        assert list(cut_between_words(text)) == [text]


@pytest.fixture
def metaspace(tmp_path: Path) -> TextEncoder:
    """A tokenizer like Llama's: it begins texts with <s>, and drops the first space of what it decodes."""
    pieces = ["<unk>", "<s>", "</s>", "\u2581the", "\u2581cat", "s", "\u2581"]
    pipeline = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    pipeline.pre_tokenizer = pre_tokenizers.Metaspace()
    pipeline.decoder = decoders.Metaspace()
    pipeline.add_special_tokens(["<s>", "</s>"])
    pipeline.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    write_folder(tmp_path, pipeline, {"bos_token": "<s>", "eos_token": "</s>"})
    return TextEncoder(tmp_path)


def test_a_prompt_begins_with_what_the_tokenizer_puts_before_a_text_and_does_not_end(metaspace, encoders):
    plain = next(iter(encoders.values()))

    assert metaspace.encode_prompt("the cats") == [1, 3, 4, 5]
    assert metaspace.encode_prompt("") == [1]
    assert plain.encode_prompt("The cat") == plain.encode_batch(["The cat"])[0].tolist()
    assert plain.encode_prompt("") == [plain.eos_id]


def test_a_continuation_keeps_the_space_that_a_tokenizer_drops_at_the_beginning(metaspace):
    before, ids = [3], [4, 5]

    assert metaspace.decode(ids) == "cats"
    assert metaspace.decode_after(before, ids) == " cats"
    assert metaspace.decode_after([], ids) == "cats"
