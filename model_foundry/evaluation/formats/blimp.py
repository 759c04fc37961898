"""BLiMP's own files, unchanged (Warstadt et al. 2020, https://arxiv.org/abs/1912.00582).

The files carry 13 ``linguistics_term``s where the paper has 12 phenomena: ``s-selection`` is part of its
argument structure, and so it is here (``linguistics_term`` is a level of its own, too). One of their fields
is spelt both ``syntax_semantics`` and ``syntax/semantics``: it is one here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from model_foundry.evaluation.formats import Item, Text, records_of, text_field


def read(path: Path, names: Mapping[str, str]) -> Iterator[Item]:
    """Yield the pairs of a file.

    Raises:
        DataError: When a record is malformed or lacks a field.
    """
    for where, record in records_of(path):
        texts = tuple(Text(text_field(record, f"sentence_{side}", where)) for side in ("good", "bad"))
        term = text_field(record, "linguistics_term", where)
        groups = {
            "phenomenon": "argument_structure" if term == "s-selection" else term,
            "linguistics_term": term,
            "field": text_field(record, "field", where).replace("/", "_"),
        }
        yield Item(where, str(record.get("pairID", "")), text_field(record, "UID", where), texts, groups)
