"""Small corpora that are prepared, and what is read back of them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from model_foundry.corpus import Validation
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource
from model_foundry.corpus.source.text_files import TextFiles
from model_foundry.tokenizer.byte_bpe import ByteBpe

TEN_PERCENT = Validation(fraction=0.1)


def prepared(folder: Path, **changes: Any) -> PreparedCorpus:
    """Prepare the texts in ``folder/texts`` with a small vocabulary, but for what is changed."""
    arguments: dict[str, Any] = {
        "sources": [TextFiles(path="texts/*.txt")],
        "validation": TEN_PERCENT,
        "tokenizer": ByteBpe(vocab_size=300),
        "seed": 1,
        "folders": [folder],
        "cache": folder / "cache",
    }
    return prepare_corpus(**{**arguments, **changes})


def load(source: PreparedSource, side: str, table: str) -> np.ndarray:
    return np.load(source.folder / side / f"{table}.npy")


def documents(source: PreparedSource, side: str, encoder: TextEncoder) -> list[str]:
    """Decode the documents of one side from its tokens alone."""
    tokens = np.concatenate([load(source, side, f"tokens-{n:05d}") for n in range(len(shards(source, side)))])
    offsets = load(source, side, "document_offsets")
    return [
        encoder.decode([token for token in tokens[start:end].tolist() if token != encoder.eos_id])
        for start, end in itertools.pairwise(offsets)
    ]


def shards(source: PreparedSource, side: str) -> list[dict[str, Any]]:
    return list(source.manifest["splits"][side]["shards"])


def content_of(corpus: PreparedCorpus) -> dict[str, str]:
    """Return the hash of every file of a corpus."""
    manifests = {source.name: source.manifest["files"] for source in [*corpus.sources, *corpus.held_out]}
    return {
        f"{name}/{file}": facts["sha256"]
        for name, files in manifests.items()
        for file, facts in files.items()
    }


class Reads(TextFiles):
    """Text files that note every time they are read."""

    note: str

    def documents(self, source_input: Any) -> Any:
        with Path(self.note).open("a") as file:
            file.write("read\n")
        return super().documents(source_input)
