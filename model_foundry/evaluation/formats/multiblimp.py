"""MultiBLiMP's files: TSV with ``sen`` and ``wrong_sen`` (Jumelet et al. 2025, https://arxiv.org/abs/2504.02768).

Phenomenon and language are columns, where they are there, or else the two folders above a file
(``SV-#/eng/condition.tsv``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from model_foundry.evaluation.formats import Item, Text, records_of, text_field


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the pairs of a file.

    Raises:
        DataError: When a row is malformed or lacks a sentence.
    """
    folders = path.resolve().parent
    for where, record in records_of(path):
        texts = tuple(Text(text_field(record, name, where)) for name in ("sen", "wrong_sen"))
        phenomenon = str(record.get("phenomenon") or folders.parent.name)
        language = str(record.get("lang") or record.get("language") or folders.name)
        groups = {"phenomenon": phenomenon, "language": language}
        yield Item(where, where.rpartition(":")[2], f"{phenomenon}-{language}", texts, groups)
