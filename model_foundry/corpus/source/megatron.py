"""Tokens as Megatron-LM writes them: NAME.bin, and NAME.idx (its IndexedDataset, version 1)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.source import Input
from model_foundry.corpus.source._tokens import TokenSource, map_tokens, with_index
from model_foundry.errors import DataError

_MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_TYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


class Megatron(TokenSource):
    """The path names ``.bin`` files; a document is all of its sequences, one after the other."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return every file after its index, which holds no documents."""
        return with_index(super().inputs(folders), ".idx")

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents of a file, in order."""
        path = source_input.path
        if path.suffix == ".idx":
            return
        index = _read_index(path.with_suffix(".idx"))
        tokens = map_tokens(path, index.dtype)
        if int(index.lengths.sum(dtype=np.int64)) != len(tokens):
            raise DataError(
                f"{path}: has {len(tokens)} tokens, expected {int(index.lengths.sum(dtype=np.int64))} as its "
                "index says. Copy both files again."
            )
        ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(index.lengths, dtype=np.int64)])
        for start, end in pairwise(ends[index.documents].tolist()):
            yield from self.document(tokens[start:end], path)


@dataclass(frozen=True)
class _Index:
    dtype: str
    lengths: NDArray[Any]
    """Tokens of each sequence."""

    documents: NDArray[Any]
    """The first sequence of each document, and at last the number of sequences."""


def _read_index(path: Path) -> _Index:
    data = path.read_bytes()
    try:
        magic, version, code, sequences, documents = _HEADER.unpack_from(data)
        lengths = np.frombuffer(data, "<i4", sequences, _HEADER.size)
        at = _HEADER.size + 4 * sequences
        pointers = np.frombuffer(data, "<i8", sequences, at)
        bounds = np.frombuffer(data, "<i8", documents, at + 8 * sequences)
    except (struct.error, ValueError) as error:
        raise DataError(f"{path}: ends too early ({error}). Copy it again.") from error
    if magic != _MAGIC or version != 1 or code not in _TYPES:
        raise DataError(
            f"{path}: begins with {magic!r}, version {version}, type {code}; expected {_MAGIC!r}, version 1 "
            f"and one of the types {sorted(_TYPES)}. Write it anew with Megatron-LM."
        )
    width = np.dtype(_TYPES[code]).itemsize
    in_order = np.cumsum(lengths, dtype=np.int64) - lengths
    is_whole = (
        documents > 0 and bounds[0] == 0 and bounds[-1] == sequences and bool((np.diff(bounds) >= 0).all())
    )
    if not is_whole or not np.array_equal(pointers, in_order * width):
        raise DataError(
            f"{path}: its documents do not follow one another from the first token to the last, expected "
            "them to. Write it anew with Megatron-LM."
        )
    return _Index(_TYPES[code], lengths, bounds)
