"""Prepared sources made by hand, in the format that corpus preparation writes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from model_foundry.data.stream import TokenStream

StreamOf = Callable[..., TokenStream]


@pytest.fixture
def stream_of(tmp_path: Path) -> StreamOf:
    """A function that makes a stream of documents with the given numbers of tokens.

    Token ``i`` of the stream has the id ``i``; every second token begins a word; a token stands for 3 bytes.
    """

    def make(lengths: list[int], *, shard: int = 10**9, name: str = "made") -> TokenStream:
        folder = tmp_path / name
        (folder / "train").mkdir(parents=True)
        total = sum(lengths)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        words = (np.arange(total) % 2 == 0).astype(np.uint8)
        shards = []
        for index, start in enumerate(range(0, total, shard)):
            piece = slice(start, min(start + shard, total))
            np.save(folder / f"train/tokens-{index:05d}.npy", np.arange(total, dtype=np.uint32)[piece])
            np.save(folder / f"train/words-{index:05d}.npy", words[piece])
            length = piece.stop - piece.start
            names = {"tokens": f"train/tokens-{index:05d}.npy", "words": f"train/words-{index:05d}.npy"}
            shards.append({**names, "length": length})
        document_words = [int(words[a:b].sum()) for a, b in pairwise(offsets)]
        np.save(folder / "train/document_offsets.npy", offsets)
        np.save(folder / "train/document_words.npy", np.array(document_words, np.int64))
        np.save(folder / "train/document_bytes.npy", np.array(lengths, np.int64) * 3)
        np.save(folder / "train/document_ids.npy", np.arange(len(lengths), dtype=np.int64))
        facts = {"documents": len(lengths), "words": int(words.sum()), "bytes": 3 * total, "tokens": total}
        manifest = {"splits": {"train": {**facts, "shards": shards}}}
        return TokenStream(name, folder, "train", manifest, np.full(total, 3, np.int32))

    return make
