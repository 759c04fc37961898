from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import RecipeError
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.pretrained import Pretrained


def write(part: Pretrained, target: Path, *folders: Path) -> Path:
    target.mkdir()
    part.write(target, iter(()), list(folders))
    return target


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with a tokenizer in it, below ``tmp_path``."""
    folder = tmp_path / "saved"
    folder.mkdir()
    Byte().write(folder, iter(()), [])
    return folder


def test_gpt2_gives_its_published_ids(test_data: Path, tmp_path: Path):
    folder = write(Pretrained(path="tokenizers/gpt2"), tmp_path / "gpt2", test_data)
    encoder, loaded = TextEncoder(folder), AutoTokenizer.from_pretrained(folder)

    assert [ids.tolist() for ids in encoder.encode_batch(["hello world", "Hello world", " Hello world"])] == [
        [31373, 995],
        [15496, 995],
        [18435, 995],
    ]
    assert loaded("hello <|endoftext|>")["input_ids"] == [31373, 220, 50256]
    assert (encoder.vocab_size, encoder.eos_id) == (50257, 50256)
    assert encoder.bytes_per_token is not None


def test_gpt2_keeps_every_character_of_many_languages(test_data: Path, tmp_path: Path):
    encoder = TextEncoder(write(Pretrained(path="gpt2"), tmp_path / "gpt2", test_data / "tokenizers"))
    texts = [path.read_text(encoding="utf-8") for path in sorted((test_data / "udhr").glob("*.txt"))]
    assert len(texts) > 10

    for text, (ids, words) in zip(texts, encoder.encode_with_words(texts), strict=True):
        assert encoder.decode(ids.tolist()) == text
        assert int(words.sum()) == len(text.split())


def test_bert_gives_its_published_ids_and_separates_documents_by_its_separator(
    test_data: Path, tmp_path: Path
):
    folder = write(Pretrained(path="bert-base-uncased"), tmp_path / "bert", test_data / "tokenizers")
    encoder, loaded = TextEncoder(folder), AutoTokenizer.from_pretrained(folder)

    assert loaded("Hello, world!")["input_ids"] == [101, 7592, 1010, 2088, 999, 102]
    assert encoder.encode_batch(["Hello, world!"])[0].tolist() == [7592, 1010, 2088, 999]
    assert (encoder.eos_token, encoder.eos_id, encoder.pad_id, encoder.bos_id) == ("[SEP]", 102, 0, None)
    assert encoder.bytes_per_token is None
    assert loaded.model_max_length > 10**9


def test_a_bare_file_gets_the_usual_roles_and_loses_its_truncation(test_data: Path, tmp_path: Path):
    source = test_data / "tokenizers" / "babyberta"
    assert json.loads((source / "tokenizer.json").read_text())["truncation"]["max_length"] == 128

    folder = write(Pretrained(path=str(source)), tmp_path / "babyberta")
    loaded = AutoTokenizer.from_pretrained(folder)

    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == ("<s>", "</s>", "<pad>")
    assert json.loads((folder / "tokenizer_config.json").read_text())["add_prefix_space"] is True
    assert (
        loaded("It was", add_special_tokens=False)["input_ids"]
        == TextEncoder(folder).encode_batch(["It was"])[0].tolist()
    )
    assert len(loaded("word " * 1000)["input_ids"]) > 1000
    written = json.loads((folder / "tokenizer.json").read_text())
    assert (written["truncation"], written["padding"]) == (None, None)
    assert TextEncoder(folder).eos_id == loaded.eos_token_id


def test_a_sentencepiece_model_alone_is_refused_with_the_way_out(test_data: Path, tmp_path: Path):
    with pytest.raises(
        RecipeError, match=r"holds .*test_model\.model.*SentencePiece model alone.*save_pretrained"
    ):
        write(Pretrained(path="tokenizers/sentencepiece-test"), tmp_path / "sp", test_data)


def test_writing_a_written_tokenizer_gives_the_same_bytes(saved: Path, tmp_path: Path):
    first = write(Pretrained(path="saved"), tmp_path / "first", tmp_path)
    second = write(Pretrained(path="first"), tmp_path / "second", tmp_path)

    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "tokenizer.json").read_bytes() == (saved / "tokenizer.json").read_bytes()


def test_code_and_longest_length_of_the_configuration_are_left_behind(saved: Path, tmp_path: Path):
    config = json.loads((saved / "tokenizer_config.json").read_text())
    extra = {
        "auto_map": {"AutoTokenizer": ["evil.py", None]},
        "model_max_length": 7,
        "tokenizer_class": "Evil",
    }
    (saved / "tokenizer_config.json").write_text(json.dumps({**config, **extra, "pad_token": None}))
    (saved / "evil.py").write_text("raise SystemExit('was run')")

    folder = write(Pretrained(path="saved"), tmp_path / "t", tmp_path)

    assert json.loads((folder / "tokenizer_config.json").read_text()) == config
    assert not (folder / "evil.py").exists()


def test_a_named_token_ends_documents(saved: Path, tmp_path: Path):
    folder = write(Pretrained(path="saved", end_of_document="a"), tmp_path / "t", tmp_path)

    assert TextEncoder(folder).eos_id == 97


def test_a_named_token_must_be_in_the_vocabulary(saved: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match=r"tokenizer\.end_of_document: '</end>' is not a token of saved"):
        write(Pretrained(path="saved", end_of_document="</end>"), tmp_path / "t", tmp_path)


def test_without_a_token_for_between_documents_the_setting_is_named(saved: Path, tmp_path: Path):
    (saved / "tokenizer_config.json").write_text('{"pad_token": "a"}')

    with pytest.raises(RecipeError, match=r"saved names neither.*Name a token.*end_of_document: TOKEN"):
        write(Pretrained(path="saved"), tmp_path / "t", tmp_path)


def test_the_first_folder_that_has_it_wins(saved: Path, tmp_path: Path):
    (tmp_path / "recipe").mkdir()

    assert write(Pretrained(path="saved"), tmp_path / "t", tmp_path / "recipe", tmp_path)


def test_a_missing_folder_names_every_place(tmp_path: Path):
    with pytest.raises(RecipeError) as caught:
        write(Pretrained(path="../a/b/c"), tmp_path / "t", tmp_path / "one", tmp_path / "two")

    assert "there is no folder '../a/b/c'" in str(caught.value)
    assert str(tmp_path / "one" / "../a/b/c") in str(caught.value)
    assert str(tmp_path / "two" / "../a/b/c") in str(caught.value)


def test_a_name_that_the_hub_does_not_give_names_the_places_too(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"no folder 'nobody/nothing' \(looked for .*the hub does not give"):
        write(Pretrained(path="nobody/nothing"), tmp_path / "t", tmp_path)


def test_a_file_is_not_a_folder(saved: Path, tmp_path: Path):
    with pytest.raises(RecipeError, match=r"tokenizer\.json is a file, expected the folder"):
        write(Pretrained(path="saved/tokenizer.json"), tmp_path / "t", tmp_path)


def test_a_malformed_file_is_named(saved: Path, tmp_path: Path):
    (saved / "tokenizer.json").write_text("{")

    with pytest.raises(RecipeError, match=r"the files in .*saved cannot be read.*Copy the tokenizer again"):
        write(Pretrained(path="saved"), tmp_path / "t", tmp_path)


def test_an_empty_folder_says_what_was_expected(tmp_path: Path):
    (tmp_path / "empty").mkdir()

    with pytest.raises(
        RecipeError, match=r"empty holds nothing, expected tokenizer\.json, or vocab\.json and merges"
    ):
        write(Pretrained(path="empty"), tmp_path / "t", tmp_path)


def test_a_vocabulary_without_all_bytes_is_not_gpt2s(tmp_path: Path):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "half" / "merges.txt").write_text("#version: 0.2\n")

    with pytest.raises(RecipeError, match="lacks 254 of the 256 bytes, expected a byte-level one"):
        write(Pretrained(path="half"), tmp_path / "t", tmp_path)


def test_it_is_not_trained(tmp_path: Path):
    assert not Pretrained(path="x").is_trained


def test_a_copy_elsewhere_gives_the_same_files(saved: Path, tmp_path: Path):
    shutil.copytree(saved, tmp_path / "copy")

    first, second = (
        write(Pretrained(path=name), tmp_path / f"of-{name}", tmp_path) for name in ("saved", "copy")
    )

    assert TextEncoder(first).sha256 == TextEncoder(second).sha256
