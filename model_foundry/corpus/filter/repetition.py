"""Documents that repeat themselves, by the rules of MassiveText (Rae et al. 2021, arXiv 2112.11446)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from model_foundry.corpus.filter import Filter, Judge
from model_foundry.corpus.filter._words import hashes_of, ngram_hashes
from model_foundry.units import Share

_PARAGRAPHS = re.compile(r"\n\s*\n")


class Repetition(Filter):
    """Leaves out documents of which a share is more than the bound; the defaults are those of the paper.

    Of lines and n-grams the first occurrence is no duplicate. Characters of n-grams are those of words,
    without the space between them, each counted once; an n-gram that stands once is no frequent one.
    """

    duplicate_lines: Share = 0.3
    """Most of its lines that stood before; blank ones are not counted."""

    duplicate_line_characters: Share = 0.2
    """Most of its characters in such lines."""

    duplicate_paragraphs: Share = 0.3
    """Most of its paragraphs (between blank lines) that stood before."""

    duplicate_paragraph_characters: Share = 0.2
    """Most of its characters in such paragraphs."""

    top_ngrams: list[Share] = Field(default=[0.2, 0.18, 0.16], max_length=8)
    """Most of its characters in the most frequent n-gram: of 2 words, of 3, and so on; [] for none."""

    duplicate_ngrams: list[Share] = Field(default=[0.15, 0.14, 0.13, 0.12, 0.11, 0.1], max_length=16)
    """Most of its characters in n-grams that stood before: of 5 words, of 6, and so on."""

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what looks for repetition; the first rule that a text breaks is counted."""

        def judge(text: str, counts: Counter[str]) -> str | None:
            for name, share, most in self._shares(text):
                if share > most:
                    counts[name] += 1
                    return None
            return text

        return judge

    def _shares(self, text: str) -> Iterator[tuple[str, float, float]]:
        """Yield every rule's name, share and bound, the cheap ones first."""
        for name, units, most, most_characters in (
            ("lines", text.split("\n"), self.duplicate_lines, self.duplicate_line_characters),
            (
                "paragraphs",
                _PARAGRAPHS.split(text),
                self.duplicate_paragraphs,
                self.duplicate_paragraph_characters,
            ),
        ):
            share, of_characters = duplicates(units)
            yield f"duplicate_{name}", share, most
            yield f"duplicate_{name[:-1]}_characters", of_characters, most_characters
        words = text.split()
        sizes = np.array([len(word) for word in words], dtype=np.int64)
        hashes = hashes_of(words)
        for n, most in enumerate(self.top_ngrams, start=2):
            yield f"top_{n}_gram", top_share(hashes, sizes, n), most
        for n, most in enumerate(self.duplicate_ngrams, start=5):
            yield f"duplicate_{n}_grams", repeated_share(hashes, sizes, n), most


def duplicates(units: Sequence[str]) -> tuple[float, float]:
    """Return the share of units that stood before, and that of characters in them; blank ones aside."""
    seen: set[str] = set()
    again = again_characters = number = characters = 0
    for unit in filter(None, map(str.strip, units)):
        number, characters = number + 1, characters + len(unit)
        if unit in seen:
            again, again_characters = again + 1, again_characters + len(unit)
        seen.add(unit)
    return again / max(1, number), again_characters / max(1, characters)


def top_share(words: NDArray[np.uint64], sizes: NDArray[np.int64], n: int) -> float:
    """Return the share of characters in the most frequent n-gram, 0 where none stands twice.

    Args:
        words: Their hashes.
        sizes: Their characters.
        n: Words of an n-gram.
    """
    grams = ngram_hashes(words, n)
    if not len(grams):
        return 0.0
    _, where, counts = np.unique(grams, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        return 0.0
    most = (_covered(where == gram, sizes, n) for gram in np.flatnonzero(counts == counts.max())[:16])
    return max(most)


def repeated_share(words: NDArray[np.uint64], sizes: NDArray[np.int64], n: int) -> float:
    """Return the share of characters in n-grams that stood before."""
    grams = ngram_hashes(words, n)
    again = np.ones(len(grams), dtype=np.bool_)
    again[np.unique(grams, return_index=True)[1]] = False
    return _covered(again, sizes, n)


def _covered(starts: NDArray[np.bool_], sizes: NDArray[np.int64], n: int) -> float:
    """Return the share of characters in n-grams that begin at some of the words."""
    inside = np.zeros(len(sizes), dtype=np.bool_)
    for at in range(n):
        inside[at : at + len(starts)] |= starts
    return float(sizes[inside].sum() / max(1, sizes.sum()))
