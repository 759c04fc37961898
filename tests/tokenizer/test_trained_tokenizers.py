from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoTokenizer

from model_foundry.errors import DataError
from model_foundry.tokenizer import END_OF_DOCUMENT, Tokenizer
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character

TEXTS = [
    "It was the best of times,\n\tit was the worst of times; ",
    "naïve 日本語 😀 don't\r\n  3.14159 <|endoftext|>",
] * 20


def write(part: Tokenizer, folder: Path, texts: list[str] = TEXTS) -> Path:
    folder.mkdir(parents=True)
    part.write(folder, iter(texts), [])
    return folder


def description(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "tokenizer.json").read_text()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("trained")
    return {
        part.part_name(): write(part, base / part.part_name())
        for part in (ByteBpe(vocab_size=310), Byte(), Character())
    }


each = pytest.mark.parametrize("name", ["byte_bpe", "byte", "character"])


@each
def test_auto_tokenizer_loads_the_folder_and_gives_the_text_back(folders: dict[str, Path], name: str):
    loaded = AutoTokenizer.from_pretrained(folders[name])

    for text in set(TEXTS):
        text = text.replace(
            END_OF_DOCUMENT, ""
        )  # here it is the special token, as everywhere outside a corpus
        encoded = loaded(text)
        assert list(encoded) == ["input_ids", "attention_mask"]
        assert loaded.decode(encoded["input_ids"]) == text
    assert loaded.eos_token == END_OF_DOCUMENT
    assert loaded.convert_tokens_to_ids(END_OF_DOCUMENT) == loaded.eos_token_id
    assert loaded.pad_token is None


@each
def test_the_configuration_loads_in_both_versions_and_names_no_longest_length(
    folders: dict[str, Path], name: str
):
    config = json.loads((folders[name] / "tokenizer_config.json").read_text())

    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert config["clean_up_tokenization_spaces"] is False
    assert "model_max_length" not in config
    assert sorted(path.name for path in folders[name].iterdir()) == [
        "tokenizer.json",
        "tokenizer_config.json",
    ]


@each
def test_saving_what_auto_tokenizer_loaded_keeps_every_id(
    folders: dict[str, Path], name: str, tmp_path: Path
):
    loaded = AutoTokenizer.from_pretrained(folders[name])
    loaded.save_pretrained(tmp_path)

    again = AutoTokenizer.from_pretrained(tmp_path)

    assert again(TEXTS)["input_ids"] == loaded(TEXTS)["input_ids"]


@each
def test_the_same_texts_give_the_same_file(folders: dict[str, Path], name: str, tmp_path: Path):
    part = {"byte_bpe": ByteBpe(vocab_size=310), "byte": Byte(), "character": Character()}[name]

    again = write(part, tmp_path / "again")

    assert (again / "tokenizer.json").read_bytes() == (folders[name] / "tokenizer.json").read_bytes()


def test_training_needs_no_torch_and_no_transformers(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from model_foundry.tokenizer.byte_bpe import ByteBpe\n"
        "ByteBpe(vocab_size=260).write(Path(sys.argv[1]), iter(['abcabc abc'] * 9), [])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


@pytest.mark.parametrize("size", [257, 258, 300])
def test_the_vocabulary_has_exactly_the_size_asked_for(tmp_path: Path, size: int):
    folder = write(ByteBpe(vocab_size=size), tmp_path / "t")

    vocabulary = description(folder)["model"]["vocab"]
    assert len(AutoTokenizer.from_pretrained(folder)) == len(vocabulary) == size
    assert sorted(vocabulary.values()) == list(range(size))
    assert vocabulary[END_OF_DOCUMENT] == 0


def test_a_text_too_small_for_the_vocabulary_says_how_many_it_gives(tmp_path: Path):
    with pytest.raises(
        DataError, match=r"gives 259 tokens, expected 8192\. Lower vocab_size to 259 or less, or add"
    ):
        write(ByteBpe(), tmp_path / "t", ["abc abc"])  # two merges: ab, abc

    assert write(ByteBpe(vocab_size=259), tmp_path / "u", ["abc abc"])


def test_merges_are_the_most_frequent_pairs(tmp_path: Path):
    folder = write(ByteBpe(vocab_size=259), tmp_path / "t", ["xy xy xy xy zq zq"])

    assert description(folder)["model"]["merges"] == [["x", "y"], ["Ġ", "xy"]]


@pytest.mark.parametrize("size", [256, 0, -1, "many"])
def test_a_vocabulary_without_room_for_the_bytes_is_refused(size: Any):
    with pytest.raises(ValidationError):
        ByteBpe(vocab_size=size)


def test_a_size_may_be_written_with_a_multiplier():
    assert ByteBpe(vocab_size="8k").vocab_size == 8000


def test_a_byte_is_its_own_id(folders: dict[str, Path]):
    loaded = AutoTokenizer.from_pretrained(folders["byte"])

    for byte in range(256):
        assert loaded.decode([byte]) == bytes([byte]).decode("utf-8", "replace")
    assert loaded("aé\n")["input_ids"] == [*"aé\n".encode()]
    assert (loaded.eos_token_id, len(loaded)) == (256, 257)


def test_characters_are_numbered_by_code_point_after_the_two_special_tokens(tmp_path: Path):
    folder = write(Character(), tmp_path / "t", ["b a\n", "😀é"])

    assert description(folder)["model"]["vocab"] == {
        token: number
        for number, token in enumerate([END_OF_DOCUMENT, "<unk>", "\n", " ", "a", "b", "é", "😀"])
    }


def test_a_character_that_was_never_seen_is_unknown_and_one_token(folders: dict[str, Path]):
    loaded = AutoTokenizer.from_pretrained(folders["character"])

    assert loaded("tжж")["input_ids"][1:] == [loaded.unk_token_id] * 2
    assert loaded.unk_token_id == 1


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40).filter(bool))
def test_a_text_of_known_characters_has_one_token_each_and_comes_back(
    tmp_path_factory: pytest.TempPathFactory, text: str
):
    from tokenizers import Tokenizer as Pipeline

    folder = write(Character(), tmp_path_factory.mktemp("characters") / "t", [text])

    pipeline = Pipeline.from_file(str(folder / "tokenizer.json"))
    pipeline.encode_special_tokens = True
    ids = pipeline.encode(text, add_special_tokens=False).ids
    assert len(ids) == len(text)
    assert pipeline.decode(ids) == text


def test_no_text_gives_no_characters(tmp_path: Path):
    with pytest.raises(DataError, match="the training text is empty"):
        write(Character(), tmp_path / "t", [])


def test_only_those_that_learn_from_the_text_say_so():
    assert [part.is_trained for part in (ByteBpe(), Character(), Byte())] == [True, True, False]


def test_an_error_while_reading_is_raised_as_it_is(tmp_path: Path):
    def broken() -> Any:
        yield "abc abc"
        raise DataError("a.txt: byte 7: bad")

    with pytest.raises(DataError, match="byte 7"):
        ByteBpe(vocab_size=257).write(tmp_path, broken(), [])


def test_a_real_book_gives_the_same_file_every_time(test_data: Path, tmp_path: Path):
    text = (test_data / "tinyshakespeare" / "input.txt").read_text()

    hashes = {
        hashlib.sha256(
            (write(ByteBpe(vocab_size=2048), tmp_path / str(n), [text]) / "tokenizer.json").read_bytes()
        ).hexdigest()
        for n in range(2)
    }

    assert len(hashes) == 1
