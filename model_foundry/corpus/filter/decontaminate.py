"""Text of evaluation files out of the corpus, by n-grams of words (Brown et al. 2020, GPT-3, appendix C)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model_foundry.corpus.filter import Filter, Judge
from model_foundry.corpus.filter._words import WORD, hashes_of, ngram_hashes, words_of
from model_foundry.corpus.source import Input
from model_foundry.errors import DataError


class Decontaminate(Filter):
    """Leaves out documents that share an n-gram with an evaluation file, or cuts out the places.

    Evaluation files are JSON lines (every text in an object counts, however deep) or plain text (a line is a
    text). Words are compared in small letters and without punctuation. Where GPT-3 makes documents of the
    pieces that a cut leaves, they stay one document here, with a blank line between them.
    """

    path: str | list[str]
    """Evaluation files: a path, a pattern such as pairs/*.jsonl, or a list of those."""

    ngram: Annotated[int, Field(ge=2, le=64)] = 13
    """Words of an n-gram. A shorter evaluation text is never found; GPT-3 went down to 8 for such files."""

    action: Literal["remove", "cut"] = "remove"
    """remove: the whole document. cut: the n-gram with a margin; what is then too short goes, too."""

    margin: Annotated[int, Field(ge=0)] = 200
    """For cut: characters on both sides of the n-gram that go with it."""

    shortest: Annotated[int, Field(ge=1)] = 200
    """For cut: characters of the shortest piece that stays."""

    most_pieces: Annotated[int, Field(ge=1)] = 10
    """For cut: a document that falls into more pieces than this goes as a whole."""

    def inputs(self, folders: list[Path]) -> list[Input]:
        """Return the evaluation files."""
        patterns = [self.path] if isinstance(self.path, str) else self.path
        return [item for pattern in patterns for item in _files(pattern, folders)]

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what looks for the n-grams of the files."""
        known, owners = self._known(files)
        names = _short_names(files)

        def judge(text: str, counts: Counter[str]) -> str | None:
            found = ngram_hashes(hashes_of(words_of(text)), self.ngram)
            where = np.searchsorted(known, found)
            hits = np.flatnonzero(known[np.minimum(where, len(known) - 1)] == found)
            if not len(hits):
                return text
            seen = np.bitwise_or.reduce(owners[where[hits]])
            for number, name in enumerate(names):
                counts[f"{name}/documents"] += bool(seen[number // 8] >> (number % 8) & 1)
            return self._cut(text, hits, counts) if self.action == "cut" else None

        return judge

    def _known(self, files: Sequence[Path]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
        """Return the n-grams of all files, sorted, and as bits the files that each is of."""
        by_file: list[NDArray[np.uint64]] = []
        for path in files:
            grams = [ngram_hashes(hashes_of(words_of(text)), self.ngram) for text in _texts(path)]
            by_file.append(np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *grams])))
            if not len(by_file[-1]):
                raise DataError(
                    f"{path}: has no text of {self.ngram} words, so decontaminate would find nothing of it. "
                    "Lower ngram (8 is the least that GPT-3 took), or leave the file out."
                )
        known = np.unique(np.concatenate(by_file))
        owners = np.zeros((len(known), (len(files) + 7) // 8), dtype=np.uint8)
        for number, found in enumerate(by_file):
            owners[np.searchsorted(known, found), number // 8] |= np.uint8(1 << number % 8)
        return known, owners

    def _cut(self, text: str, hits: NDArray[np.int64], counts: Counter[str]) -> str | None:
        words = list(WORD.finditer(text))
        if len(words) != len(words_of(text)):  # a small letter became two
            return None
        pieces, at = [], 0
        for hit in hits.tolist():
            start = max(at, words[hit].start() - self.margin)
            pieces.append(text[at:start])
            at = max(at, min(len(text), words[hit + self.ngram - 1].end() + self.margin))
        pieces.append(text[at:])
        left = [piece.strip() for piece in pieces if len(piece.strip()) >= self.shortest]
        counts["cut"] += 1
        if not left or len(left) > self.most_pieces:
            return None
        return "\n\n".join(left)


def _files(pattern: str, folders: list[Path]) -> Iterator[Input]:
    places = [Path()] if Path(pattern).is_absolute() else folders
    for folder in places:
        whole = folder / pattern
        found = [whole] if whole.is_file() else []
        if not found:
            root = Path(whole.anchor)
            found = sorted(
                path for path in root.glob(str(whole.absolute().relative_to(root))) if path.is_file()
            )
        if found:
            yield from (Input(path, path.name) for path in found)
            return
    tried = ", ".join(str(folder / pattern) for folder in places)
    raise DataError(
        f"corpus.filters: decontaminate finds no evaluation file {pattern} (looked for {tried}). "
        "Correct the path; relative ones are looked for beside the recipe, then in the working folder."
    )


def _short_names(files: Sequence[Path]) -> list[str]:
    """Return the files' names, with a number where several have the same."""
    names = [path.name for path in files]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: at + 1].count(name)})"
        for at, name in enumerate(names)
    ]


def _texts(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if path.suffix != ".jsonl":
                    yield line
                elif line.strip():
                    try:
                        yield from _strings(json.loads(line))
                    except ValueError as error:
                        raise DataError(
                            f"{path}:{number}: is not JSON ({error}), expected an object a line. Correct it."
                        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: cannot be read as UTF-8 text ({error}). decontaminate reads .jsonl and plain text; "
            "write the evaluation texts into such a file."
        ) from error


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
