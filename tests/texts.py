"""Small invented texts, the same bytes for the same arguments."""

from __future__ import annotations

import random
from pathlib import Path


def write_texts(folder: Path, *, documents: int = 20, words: int = 60, seed: int = 0) -> Path:
    """Write ``documents`` files of ``words`` words each into a new folder and return it.

    The words are invented; their frequencies fall as 1/rank, so that a tokenizer has something to learn.
    """
    draw = random.Random(seed)
    syllables = [consonant + vowel for consonant in "bdfgklmnprstv" for vowel in "aeiou"]
    vocabulary = ["".join(draw.choices(syllables, k=draw.randint(1, 3))) for _ in range(400)]
    frequencies = [1 / rank for rank in range(1, len(vocabulary) + 1)]
    folder.mkdir()
    for number in range(documents):
        chosen = draw.choices(vocabulary, frequencies, k=words)
        sentences = [" ".join(chosen[at : at + 12]).capitalize() + "." for at in range(0, words, 12)]
        (folder / f"{number:04d}.txt").write_text("\n".join(sentences) + "\n", encoding="utf-8")
    return folder
