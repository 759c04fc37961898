"""Tokens as nanoGPT writes them (train.bin): little-endian integers and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from model_foundry.corpus.source import Input
from model_foundry.corpus.source._tokens import TokenSource, map_tokens

_BLOCK = 1 << 22


class NanoGpt(TokenSource):
    """Documents end at ``end_of_document`` (50256 in GPT-2's vocabulary); without it, a file is one."""

    token_bytes: Literal[2, 4] = 2
    """Bytes of a token."""

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents of a file, in order."""
        tokens = map_tokens(source_input.path, f"<u{self.token_bytes}")
        start = 0
        if self.end_of_document is not None:
            for block in range(0, len(tokens), _BLOCK):
                found = np.flatnonzero(tokens[block : block + _BLOCK] == self.end_of_document)
                for end in (found + block + 1).tolist():
                    yield from self.document(tokens[start:end], source_input.path)
                    start = end
        if start < len(tokens):
            yield from self.document(tokens[start:], source_input.path)
