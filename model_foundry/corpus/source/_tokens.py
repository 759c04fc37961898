"""Sources whose files hold token ids, by whatever tokenizer: the recipe names that one as ``pretrained``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model_foundry.corpus._blocks import check_is_regular
from model_foundry.corpus._ids import MAX_ID, text_of_ids
from model_foundry.corpus._pieces import LONG_CHARACTERS, Piece
from model_foundry.corpus.source import Input
from model_foundry.corpus.source._paths import PathSource
from model_foundry.errors import DataError


class TokenSource(PathSource):
    """Settings of a source of tokens; ``documents`` gives them as text of ``_ids.py``."""

    is_tokenized: ClassVar[bool] = True

    end_of_document: int | None = Field(default=None, ge=0)
    """Id that ends documents, which must be the tokenizer's own; it is put after every document, once."""

    def document(self, ids: NDArray[Any], path: Path) -> Iterator[str]:
        """Yield a document, in pieces where it is long, without an end of its own."""
        if self.end_of_document is not None and len(ids) and ids[-1] == self.end_of_document:
            ids = ids[:-1]
        for start in range(0, max(1, len(ids)), LONG_CHARACTERS):
            piece = ids[start : start + LONG_CHARACTERS]
            if len(piece) and (int(piece.max()) > MAX_ID or int(piece.min()) < 0):
                raise DataError(
                    f"{path}: holds the token {int(piece.max())}, expected at most {MAX_ID}. Correct the "
                    "width of a token."
                )
            is_last = start + LONG_CHARACTERS >= len(ids)
            yield text_of_ids(piece) if is_last else Piece(text_of_ids(piece))


def map_tokens(path: Path, dtype: str) -> NDArray[Any]:
    """Return a file as an array of tokens that lies on disk.

    Raises:
        DataError: When it is not a whole number of tokens.
    """
    size = check_is_regular(path).st_size
    if size % np.dtype(dtype).itemsize:
        raise DataError(
            f"{path}: has {size} bytes, expected a whole number of tokens of {np.dtype(dtype).itemsize} "
            "bytes. Copy it again, or correct the width."
        )
    return np.memmap(path, dtype=dtype, mode="r") if size else np.zeros(0, dtype=dtype)


def with_index(inputs: list[Input], ending: str) -> list[Input]:
    """Return inputs, each after the file beside it that says where its documents are."""
    result = []
    for item in inputs:
        index = Path(f"{item.path}{ending}") if ending != ".idx" else item.path.with_suffix(ending)
        check_is_regular(index)
        result += [Input(index, f"{item.name} ({ending[1:]})"), item]
    return result
