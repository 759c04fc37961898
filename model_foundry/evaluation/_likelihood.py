"""From nats, tokens, words and bytes of documents to loss, perplexities and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from model_foundry.evaluation import Measure, Table

SUMS = ("nats", "targets", "text_nats", "bytes", "words")
"""Columns that add up: nats of all targets, their number, nats of those with text, their bytes and words."""


def merged(items: Table, keys: Sequence[str]) -> Table:
    """Add the sums of rows with equal keys, which lay in several parts; the order is that of first sight."""
    rows: dict[tuple[Any, ...], list[float]] = {}
    for number, key in enumerate(zip(*(items[name] for name in keys), strict=True)):
        row = rows.setdefault(key, [0] * len(SUMS))
        for place, column in enumerate(SUMS):
            row[place] += items[column][number]
    table: Table = {name: [key[place] for key in rows] for place, name in enumerate(keys)}
    return table | {column: [row[place] for row in rows.values()] for place, column in enumerate(SUMS)}


def measures_of(items: Table, *, level: str = "all", group: str = "") -> list[Measure]:
    """Return loss, perplexities and bits per byte over rows with the columns of ``SUMS``."""
    nats, text_nats = math.fsum(items["nats"]), math.fsum(items["text_nats"])
    targets, num_bytes, words = (sum(items[column]) for column in ("targets", "bytes", "words"))
    if not targets:
        return []
    found = {"loss": nats / targets, "perplexity": _exp(nats / targets)}
    if words:
        found["word_perplexity"] = _exp(text_nats / words)
    if num_bytes:
        found["bits_per_byte"] = text_nats / math.log(2) / num_bytes
    documents = len(items["nats"])
    return [Measure(name, value, level, group, items=documents) for name, value in found.items()]


def by_source(items: Table) -> list[Measure]:
    """Return the measures of all rows, and of each source where there are several."""
    measures = measures_of(items)
    sources = list(dict.fromkeys(items["source"]))
    for source in sources if len(sources) > 1 else []:
        rows = [number for number, name in enumerate(items["source"]) if name == source]
        chosen = {column: [values[row] for row in rows] for column, values in items.items()}
        measures += measures_of(chosen, level="source", group=source)
    return measures


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
