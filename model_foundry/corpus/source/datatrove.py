"""Tokens as datatrove writes them: NAME.ds, and NAME.ds.index with the end of every document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model_foundry.corpus.source import Input
from model_foundry.corpus.source._tokens import TokenSource, map_tokens, with_index
from model_foundry.errors import DataError

_INDEX = ".index"


class Datatrove(TokenSource):
    """The path names ``.ds`` files; their index tells the width of a token, too; loss masks are not read."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return every file after its index, which holds no documents."""
        return with_index(super().inputs(folders), _INDEX)

    def documents(self, source_input: Input) -> Iterator[str]:
        """Yield the documents of a file, in order."""
        path = source_input.path
        if path.suffix == _INDEX:
            return
        ends = map_tokens(Path(f"{path}{_INDEX}"), "<u8").tolist()
        total = ends[-1] if ends else 0
        size = path.stat().st_size
        if size not in (2 * total, 4 * total) or ends != sorted(ends):
            raise DataError(
                f"{path}: has {size} bytes, expected {total} tokens of 2 or 4 bytes, as its index says. Copy "
                "both files again."
            )
        tokens = map_tokens(path, "<u2" if size == 2 * total else "<u4")
        for start, end in zip([0, *ends], ends, strict=False):
            yield from self.document(tokens[start:end], path)
