"""Documents in the scripts that are asked for."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field

from model_foundry.corpus.filter import Filter, Judge
from model_foundry.units import Share

Script = Literal[
    "arabic", "armenian", "bengali", "bopomofo", "cherokee", "cjk", "cyrillic", "devanagari", "ethiopic",
    "georgian", "greek", "gujarati", "gurmukhi", "hangul", "hebrew", "hiragana", "kannada", "katakana",
    "khmer", "lao", "latin", "malayalam", "mongolian", "myanmar", "oriya", "sinhala", "syriac", "tamil",
    "telugu", "thaana", "thai", "tibetan",
]  # fmt: skip


class CharacterSet(Filter):
    """Leaves out documents with too few letters of some scripts.

    The script of a letter is the word that its name in Unicode has for it: LATIN SMALL LETTER A. What is no
    letter (digits, punctuation, marks) counts on neither side; a document without any letter is left out.
    """

    scripts: list[Script] = Field(min_length=1)
    """Names of the scripts, such as [latin] or [cjk, hiragana, katakana]."""

    least: Share = 0.9
    """Share of a document's letters that are of these scripts, at least."""

    def open(self, files: Sequence[Path]) -> Judge:
        """Return what looks at the letters of a text."""
        wanted = frozenset(script.upper() for script in self.scripts)

        def judge(text: str, counts: Counter[str]) -> str | None:
            letters = found = 0
            for character, number in Counter(text).items():
                if character.isalpha():
                    letters += number
                    found += number * (not wanted.isdisjoint(_name(character)))
            if not letters or found < self.least * letters:
                counts["other_letters" if letters else "no_letters"] += 1
                return None
            return text

        return judge


@lru_cache(maxsize=1 << 16)
def _name(character: str) -> frozenset[str]:
    return frozenset(unicodedata.name(character, "").replace("-", " ").split())
