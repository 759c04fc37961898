"""Zorro's files: two lines a pair, the second one grammatical (Huebner et al. 2021, CoNLL, section 4).

A file is a paradigm, and the phenomenon is its name up to the hyphen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from model_foundry.errors import DataError
from model_foundry.evaluation.formats import Item, Text, lines_of


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the pairs of a file.

    Raises:
        DataError: When the last pair is half.
    """
    lines = list(lines_of(path))
    if len(lines) % 2:
        raise DataError(f"{path}:{lines[-1][0]}: a line without a second one, expected two lines a pair.")
    groups = {"phenomenon": path.stem.partition("-")[0]}
    for pair, ((_, bad), (number, good)) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        texts = (Text(good.strip()), Text(bad.strip()))
        yield Item(f"{path}:{number}", str(pair), path.stem, texts, groups)
