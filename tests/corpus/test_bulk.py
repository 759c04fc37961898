"""Many texts at once give what each gives alone, by whichever way."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.corpus import fast
from model_foundry.corpus._byte_table import byte_signs
from model_foundry.corpus._word_table import join_texts
from model_foundry.corpus.bulk import BulkEncoder
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.fast import PROBES, FastTokenizer, TokensDiffer, load_fast
from model_foundry.tokenizer.byte import Byte
from model_foundry.tokenizer.byte_bpe import ByteBpe
from model_foundry.tokenizer.character import Character
from model_foundry.tokenizer.pretrained import Pretrained

needs_snaptokens = pytest.mark.skipif(
    fast.find_spec("snaptokens") is None, reason="snaptokens (extra: fast) is not installed"
)
SPACES = [chr(point) for point in range(0x110000) if chr(point).isspace()]


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextEncoder]:
    texts = ["".join(PROBES) * 3, "the cat sat on the mat and the dog sat on the log " * 9]
    made = {}
    for name, tokenizer in {
        "byte_bpe": ByteBpe(vocab_size=320, mask_token="<mask>"),
        "byte": Byte(),
        "character": Character(),
    }.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer.write(folder, iter(texts), [])
        made[name] = TextEncoder(folder)
    return made


@pytest.mark.parametrize("name", ["byte_bpe", "byte", "character"])
@settings(deadline=None)
@given(
    texts=st.lists(
        st.text(st.sampled_from([*"abthe c\n\t.'", *SPACES, "é", "中", "😀", "\x00", "Ж"]), max_size=30),
        max_size=8,
    )
)
def test_a_batch_has_the_tokens_and_words_of_each_text(
    encoders: dict[str, TextEncoder], name: str, texts: list[str]
):
    encoder = encoders[name]
    for bulk in (BulkEncoder(encoder, None), BulkEncoder(encoder, load_fast(encoder))):
        encoded = bulk.encode(texts)

        splits = np.cumsum(encoded.lengths)[:-1]
        ids, words = np.split(encoded.ids, splits), np.split(encoded.words, splits)
        for text, of_text, counts in zip(texts, ids, words, strict=False):
            assert of_text.tolist() == encoder.encode_batch([text])[0].tolist()
            assert counts.tolist() == encoder.encode_with_words([text])[0][1].tolist()
            assert int(counts.sum()) == len(text.split())
        assert encoded.num_words == sum(len(text.split()) for text in texts)
        assert encoded.sizes.tolist() == [len(text.encode()) for text in texts]


@given(
    texts=st.lists(
        st.text(st.sampled_from([*SPACES, "a", "é", "中", "\u2019", "\u3001", "\x84"]), max_size=20)
    )
)
def test_words_are_counted_in_bytes_as_python_splits(texts: list[str]):
    joined = join_texts(texts)

    assert int(np.count_nonzero(joined.word_begins())) == sum(len(text.split()) for text in texts)
    assert len(joined.wide) == sum(char.isspace() and ord(char) > 127 for text in texts for char in text)


def test_the_signs_of_bytes_are_those_of_tokenizers():
    from tokenizers import pre_tokenizers

    assert byte_signs().keys() == set(pre_tokenizers.ByteLevel.alphabet())
    assert [ByteLevel for ByteLevel, _ in pre_tokenizers.ByteLevel(False).pre_tokenize_str("é")] == [
        "".join(sign for byte in "é".encode() for sign, number in byte_signs().items() if number == byte)
    ]


def test_spelled_tokens_are_the_text_of_a_text(encoders: dict[str, TextEncoder]):
    for name in ("byte_bpe", "byte"):
        encoder = encoders[name]
        spelled = encoder.spelled_tokens
        assert spelled is not None
        for text in PROBES:
            ids = encoder.encode_batch([text])[0].tolist()
            assert b"".join(spelled[number] for number in ids) == text.encode()


@needs_snaptokens
def test_every_script_has_the_ids_of_tokenizers(test_data: Path, tmp_path: Path):
    """GPT-2's vocabulary, and one that is trained on half of the languages."""
    paths = sorted(test_data.glob("udhr/*.txt"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "own").mkdir()
    Pretrained(path="tokenizers/gpt2").write(tmp_path / "gpt2", iter(()), [test_data])
    ByteBpe(vocab_size=3000).write(tmp_path / "own", iter(texts[::2]), [])

    for name in ("gpt2", "own"):
        encoder = TextEncoder(tmp_path / name)
        found = load_fast(encoder)
        assert found is not None
        for path, text in zip(paths, texts, strict=True):
            lines = text.splitlines(keepends=True)
            for given_texts in ([text], lines):
                ids, lengths = found.encode(given_texts)
                expected, expected_lengths = encoder.encode_flat(given_texts)
                assert np.array_equal(ids, expected), path.name
                assert np.array_equal(lengths, expected_lengths), path.name
    assert len(paths) >= 20


@needs_snaptokens
def test_special_tokens_that_stand_in_a_text_are_text(encoders: dict[str, TextEncoder]):
    encoder = encoders["byte_bpe"]
    found = load_fast(encoder)
    assert found is not None

    ids, _ = found.encode(["a<|endoftext|>b<mask>"])

    assert encoder.eos_id not in ids.tolist()
    assert encoder.decode(ids.tolist()) == "a<|endoftext|>b<mask>"


@needs_snaptokens
def test_a_difference_is_found_and_shown(encoders: dict[str, TextEncoder]):
    found = FastTokenizer(encoders["byte"].description)

    with pytest.raises(TokensDiffer, match="the cat"):
        found.require_equal(encoders["byte_bpe"], ["", "the cat"])


@needs_snaptokens
def test_one_that_fails_its_probes_is_not_used_and_says_so(
    encoders: dict[str, TextEncoder], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    wrong = FastTokenizer(encoders["byte"].description)
    monkeypatch.setattr(fast, "FastTokenizer", lambda description: wrong)

    assert load_fast(encoders["byte_bpe"]) is None
    assert "snaptokens gives other tokens than tokenizers and is not used" in caplog.text


def test_without_the_library_or_for_other_tokenizers_there_is_none(
    encoders: dict[str, TextEncoder], monkeypatch: pytest.MonkeyPatch
):
    assert load_fast(encoders["character"]) is None
    monkeypatch.setattr(fast, "find_spec", lambda name: None)
    assert load_fast(encoders["byte_bpe"]) is None


@needs_snaptokens
def test_added_tokens_that_are_not_special_are_left_to_tokenizers(
    encoders: dict[str, TextEncoder], tmp_path: Path
):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((encoders["byte_bpe"].folder / name).read_bytes())
    description = json.loads((tmp_path / "tokenizer.json").read_text())
    description["added_tokens"][-1]["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))

    assert load_fast(TextEncoder(tmp_path)) is None


def test_a_process_forked_from_one_that_used_it_does_without(encoders: dict[str, TextEncoder]):
    """Its threads stay behind at the fork, and it would wait for them for ever."""
    pytest.importorskip("snaptokens")
    assert load_fast(encoders["byte_bpe"]) is not None

    child = os.fork()
    if child == 0:
        os._exit(0 if load_fast(encoders["byte_bpe"]) is None else 1)

    deadline = time.monotonic() + 60
    while (waited := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if waited == (0, 0):
        os.kill(child, signal.SIGKILL)
    assert waited == (child, 0)
