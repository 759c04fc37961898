"""What a lossless tokenizer encodes comes back; the kinds are walked, so that a new one is tried, too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_foundry.corpus.bulk import BulkEncoder
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.parts import find_part, known_parts
from model_foundry.tokenizer import END_OF_DOCUMENT, Tokenizer

TEXT = (
    "It was the best of times,\n\tit was the worst; na\u00efve \u65e5\u672c\u8a9e \U0001f600 f(x):\r\n  a\n"
    * 9
)
SMALL = {"byte_bpe": 280, "unigram": 292, "bpe": 310, "wordpiece": 60}
LOSSY = {"wordpiece"}
KNOWN_CHARACTERS = {"character"}
"""Lossless for the characters that they were trained on."""

NAMES = [
    "<0x41>",
    "<0xE2>",
    "<unk>",
    "<mask>",
    END_OF_DOCUMENT,
    "\u2581",
    "\u0120",
    "##a",
    "\ufeff",
    "\ufffd",
]
ANYTHING = st.lists(
    st.text(max_size=20)
    | st.sampled_from([*NAMES, *TEXT.split(), " ", "\n", "\t", "\x00", "\r\n", "\x85", "e\u0301"]),
    max_size=12,
).map("".join)
KINDS = sorted(set(known_parts(Tokenizer)) - {"pretrained"})


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TextEncoder]:
    made = {}
    for kind in KINDS:
        folder = tmp_path_factory.mktemp(kind)
        size = {"vocab_size": SMALL[kind]} if kind in SMALL else {}
        find_part(Tokenizer, kind)(mask_token="<mask>", **size).write(folder, iter([TEXT]), [])
        made[kind] = TextEncoder(folder)
    return made


def test_each_kind_says_what_it_is(encoders: dict[str, TextEncoder]):
    assert {kind for kind in KINDS if encoders[kind].normalisation == "lossy"} == LOSSY


@pytest.mark.parametrize("kind", sorted(set(KINDS) - LOSSY - KNOWN_CHARACTERS))
@settings(max_examples=400, deadline=None)
@given(text=ANYTHING)
def test_any_text_comes_back_to_the_byte(encoders: dict[str, TextEncoder], kind: str, text: str):
    encoder = encoders[kind]

    [ids] = encoder.encode_batch([text])

    assert encoder.decode(ids.tolist()) == text
    assert not encoder.special_ids & set(ids.tolist())  # what a special token is called is text, too


@pytest.mark.parametrize("kind", sorted(set(KINDS) - LOSSY - KNOWN_CHARACTERS))
@settings(max_examples=100, deadline=None)
@given(texts=st.lists(ANYTHING, max_size=6))
def test_words_and_bytes_of_any_text_are_those_of_its_tokens(
    encoders: dict[str, TextEncoder], kind: str, texts: list[str]
):
    encoder = encoders[kind]
    sizes = encoder.bytes_per_token
    assert sizes is not None

    encoded = BulkEncoder(encoder, None).encode(texts)

    ends = np.cumsum(encoded.lengths)
    for text, end, length in zip(texts, ends, encoded.lengths, strict=True):
        assert encoded.words[end - length : end].sum() == len(text.split())
        assert sizes[encoded.ids[end - length : end]].sum() == len(text.encode())


@pytest.mark.parametrize("kind", sorted(KNOWN_CHARACTERS))
@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=sorted(set(TEXT)), max_size=60))
def test_known_characters_come_back(encoders: dict[str, TextEncoder], kind: str, text: str):
    assert encoders[kind].keeps(text)
