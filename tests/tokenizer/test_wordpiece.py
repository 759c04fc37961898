from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from transformers import AutoTokenizer, BertTokenizer

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.errors import DataError, RecipeError
from model_foundry.tokenizer import END_OF_DOCUMENT
from model_foundry.tokenizer._wordpiece import count_words, text_steps, train_pieces
from model_foundry.tokenizer.wordpiece import Wordpiece

TEXTS = [
    "It was the best of times,\n\tit was the worst of times; naïve cafés, don't! ",
    "the 日本 <|endoftext|>",
] * 20


def write(part: Wordpiece, folder: Path, texts: list[str] = TEXTS) -> Path:
    folder.mkdir()
    part.write(folder, iter(texts), [])
    return folder


def test_ids_are_those_of_bert_with_the_same_vocabulary(tmp_path: Path):
    for lowercase in (False, True):
        folder = write(Wordpiece(vocab_size=70, lowercase=lowercase), tmp_path / str(lowercase))
        ours = AutoTokenizer.from_pretrained(folder)
        bert = BertTokenizer(vocab=ours.get_vocab(), do_lower_case=lowercase, unk_token="<unk>")

        for text in [*TEXTS[:2], "THE  Best;times ÉTÉ\x00worst! wasthe"]:
            expected = bert(text.replace(END_OF_DOCUMENT, ""), add_special_tokens=False)["input_ids"]
            assert ours(text.replace(END_OF_DOCUMENT, ""))["input_ids"] == expected


def test_special_tokens_come_first_and_the_vocabulary_is_exact(tmp_path: Path):
    folder = write(Wordpiece(vocab_size=72, mask_token="[MASK]", pad_token="[PAD]"), tmp_path / "t")
    loaded = AutoTokenizer.from_pretrained(folder)

    assert loaded.convert_ids_to_tokens([0, 1, 2, 3]) == [END_OF_DOCUMENT, "<unk>", "[MASK]", "[PAD]"]
    assert sorted(loaded.get_vocab().values()) == list(range(72))
    assert loaded.all_special_ids == [0, 1, 3, 2] or set(loaded.all_special_ids) == {0, 1, 2, 3}
    assert loaded("zzz")["input_ids"] == [1]


def test_it_says_that_it_is_lossy(tmp_path: Path):
    encoder = TextEncoder(write(Wordpiece(vocab_size=70), tmp_path / "t"))

    assert encoder.normalisation == "lossy"
    assert encoder.decode(encoder.encode_batch(["the  best\nof times"])[0].tolist()) == "the best of times"
    assert not encoder.can_cut


def test_another_process_writes_the_same_file(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from model_foundry.tokenizer.wordpiece import Wordpiece\n"
        "Wordpiece(vocab_size=75).write(Path(sys.argv[1]), iter(sys.argv[2:]), [])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    here = write(Wordpiece(vocab_size=75), tmp_path / "here")
    for number in range(3):  # the trainer itself differs from process to process
        there = tmp_path / str(number)
        there.mkdir()
        subprocess.run([sys.executable, "-c", program, str(there), *TEXTS], check=True)

        assert (there / "tokenizer.json").read_bytes() == (here / "tokenizer.json").read_bytes()


def test_words_are_counted_as_bert_cuts_them():
    words = count_words(iter(["Été, don't\n\nété " + "x" * 101]), text_steps(lowercase=True))

    assert words == Counter({"ete": 2, ",": 1, "don": 1, "'": 1, "t": 1})


def test_pieces_are_the_most_frequent_pairs():
    pieces = train_pieces(Counter({"xyz": 5, "wyz": 4, "x": 1}), ["<s>"], 9)

    # Special, within words, characters, and then ##y ##z (9 times), x ##yz (5 times)
    assert sorted(pieces, key=pieces.__getitem__) == ["<s>", "##y", "##z", "w", "x", "y", "z", "##yz", "xyz"]


def test_only_the_most_frequent_characters_have_tokens(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("model_foundry.tokenizer._wordpiece._ALPHABET", 2)

    pieces = train_pieces(Counter({"ab": 5, "ca": 1}), ["<s>"], 6)

    assert sorted(pieces, key=pieces.__getitem__) == ["<s>", "##a", "##b", "a", "b", "ab"]


def test_too_little_text_says_how_many_tokens_it_gives(tmp_path: Path):
    with pytest.raises(DataError, match=r"gives 9 tokens, expected 8192\. Lower vocab_size to 9 or less"):
        write(Wordpiece(), tmp_path / "t", ["ab ab cd"])


def test_a_vocabulary_without_room_for_the_characters_says_how_many_there_are(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"5 cannot hold .* alone and within words\. Raise it to 8 or more"):
        write(Wordpiece(vocab_size=5), tmp_path / "t", ["ab cd"])


def test_no_text_gives_no_pieces(tmp_path: Path):
    with pytest.raises(DataError, match="the training text is empty, expected at least one word"):
        write(Wordpiece(), tmp_path / "t", [" \n"])


def test_a_special_token_that_is_a_word_is_refused(tmp_path: Path):
    with pytest.raises(RecipeError, match=r"tokenizer\.mask_token: 'mask' is a word, .* such as \[mask\]"):
        write(Wordpiece(vocab_size=70, mask_token="mask"), tmp_path / "t")
