from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.data import text_search
from model_foundry.data.stream import TokenStream
from model_foundry.data.text_search import find_text
from model_foundry.tokenizer.byte import Byte

TEXTS = ["abababa", "naïve aba", "bab"]


@pytest.fixture
def searched(tmp_path: Path) -> tuple[TokenStream, TextEncoder]:
    """Three texts, a token a byte."""
    for number, text in enumerate(TEXTS):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    corpus = prepare_corpus(
        sources=[TextFiles(path="*.txt")],
        validation=Validation(fraction=0),
        tokenizer=Byte(),
        seed=1,
        folders=[tmp_path],
        cache=default_cache_folder(),
    )
    encoder, source = TextEncoder(corpus.tokenizer_folder), corpus.sources[0]
    return TokenStream(source.name, source.folder, "train", source.manifest, encoder.bytes_per_token), encoder


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("aba", [(0, 3), (2, 5), (4, 7), (15, 18)]),
        ("b", [(1, 2), (3, 4), (5, 6), (16, 17), (19, 20), (21, 22)]),
        ("ïve", [(10, 14)]),
        ("abababa", [(0, 7)]),
        ("ba<|endoftext|>na", [(5, 10)]),
        ("bb", []),
    ],
)
def test_every_occurrence_is_found_once_wherever_chunks_end(
    searched: tuple[TokenStream, TextEncoder],
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    text: str,
    places: list[int],
):
    monkeypatch.setattr(text_search, "_CHUNK", chunk)

    assert list(find_text(*searched, text)) == places
