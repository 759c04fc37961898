"""The same corpus and settings give the same files: on one worker and two, today and from the cache."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import pytest

from model_foundry.corpus import Validation
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.parts import find_part
from model_foundry.tokenizer import Tokenizer
from tests.texts import write_texts

VERSIONS = {"tokenizers": "0.23.3", "sentencepiece": "0.2.3"}
"""What the hashes below were made with; the other versions that are allowed may give other files."""

GOLDEN = {
    "byte_bpe": "4d396956fc404622ba4a0c36d8210c57d14a4309745a19ad14fb1ee88e4ebc49",
    "unigram": "432fd6ee93ee5aa3a33779f0a4d80b8142e5faebddb4b99bef93366d233c98a2",
    "bpe": "56b8b103b8a2bf3d25a71af66b266f83bf79e98c5ba3fa9a7779c1bdd316f614",
    "wordpiece": "1e3baea0141d00018bef0f9faab39c986f5e90d0c2eb2c4578a0ea5784ba6091",
    "character": "1ac4451786e27d6df4a9289e87215238117a7275d49e8c968884c590859651e1",
    "byte": "6eedbef014f1fd869454255f0c76ceda84b86bf707e8f813d55e12d09bfcda54",
}
SIZES = {"byte_bpe": 300, "unigram": 400, "bpe": 400, "wordpiece": 200}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    write_texts(folder / "texts", documents=40, words=60)
    (folder / "texts" / "more.txt").write_text(
        "na\u00efve caf\u00e9s \u65e5\u672c \U0001f600\n" * 20, encoding="utf-8"
    )
    return folder


def prepared(texts: Path, kind: str, cache: str, workers: int) -> PreparedCorpus:
    size = {"vocab_size": SIZES[kind]} if kind in SIZES else {}
    sample = {"sample": 8000} if kind != "byte" else {}
    return prepare_corpus(
        sources=[TextFiles(path="texts/*.txt", document="line")],
        validation=Validation(fraction=0.1),
        tokenizer=find_part(Tokenizer, kind)(**size, **sample),
        seed=1,
        folders=[texts],
        cache=texts / cache,
        workers=workers,
        section_bytes=2000,  # so that there is something to share out
    )


def hashes(made: PreparedCorpus) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(made.tokenizer_folder.iterdir())
    }


@pytest.mark.parametrize("kind", GOLDEN)
def test_a_trained_tokenizer_is_the_same_file_everywhere(texts: Path, kind: str):
    one = prepared(texts, kind, "one", 1)
    two = prepared(texts, kind, "two", 2)
    again = prepared(texts, kind, "one", 2)

    assert hashes(one) == hashes(two) == hashes(again)
    assert again.tokenizer_folder == one.tokenizer_folder
    if {name: version(name) for name in VERSIONS} == VERSIONS:
        assert hashes(one)["tokenizer.json"] == GOLDEN[kind]
