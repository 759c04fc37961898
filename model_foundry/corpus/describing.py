"""The statistics of a prepared corpus: each source and all of them, side by side, as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_foundry.corpus.distinct import Distinct
from model_foundry.corpus.prepared import PreparedCorpus, PreparedSource
from model_foundry.corpus.statistics import STATISTICS, SideCounts, TextStatistics

_UNITS = ("documents", "words", "bytes", "tokens")


def describe_corpus(corpus: PreparedCorpus, context: int) -> dict[str, Any]:
    """Return the statistics of a corpus.

    Keys are ``total`` (all sources together, by side), ``sources`` (each with its sides and its losses),
    ``shared`` (how much of the held-out text training has, too) and ``context``. A source that was prepared
    before there were statistics has its counts and losses alone, and the corpus no total.

    Args:
        corpus: As ``prepare_corpus`` returns it.
        context: Tokens of a window: documents that are longer are counted, and what padding would take.
    """
    everything: TextStatistics | None = TextStatistics()
    sums: dict[str, dict[str, int]] = {}
    described = []
    sources = [*corpus.sources, *corpus.held_out]
    for source in sources:
        for side, counts in source.manifest["splits"].items():
            of_side = sums.setdefault(side, dict.fromkeys(_UNITS, 0))
            for unit in _UNITS:
                of_side[unit] += counts[unit]
    for source in sources:
        path = source.folder / STATISTICS
        found = TextStatistics.load(path) if path.is_file() else None
        described.append(_describe_source(source, found, sums, context))
        if found is None:
            everything = None
        elif everything is not None:
            everything.merge(found)
    result: dict[str, Any] = {"context": context, "sources": described}
    if everything is not None:
        result["total"] = {
            side: describe_side(everything.sides[side], counts, context) for side, counts in sums.items()
        }
        result["shared"] = _shared(everything)
    return result


def _describe_source(
    source: PreparedSource, found: TextStatistics | None, sums: dict[str, dict[str, int]], context: int
) -> dict[str, Any]:
    sides = {}
    for side, of_side in source.manifest["splits"].items():
        counts = {unit: int(of_side[unit]) for unit in _UNITS}
        facts = describe_side(found.sides[side], counts, context) if found is not None else counts
        share = {unit: counts[unit] / max(1, sums[side][unit]) for unit in _UNITS}
        sides[side] = {**facts, "share": share}
    about = {"name": source.name, "type": source.manifest["source"]["type"]}
    return {**about, "files": len(source.manifest["inputs"]), "sides": sides, "losses": list(_losses(source))}


def describe_side(found: SideCounts, counts: dict[str, int], context: int) -> dict[str, Any]:
    """Return the statistics of one side.

    Args:
        found: What was counted.
        counts: Its documents, words, bytes and tokens.
        context: Tokens of a window.
    """
    types, documents = found.types, found.documents
    return {
        **counts,
        "types": {
            "number": types.number,
            "once": types.number_once,
            "standard_error": types.standard_error,
        },
        "duplicates": {
            "documents": max(0, counts["documents"] - documents.number),
            "words": max(0, counts["words"] - documents.size),
            "standard_error": documents.standard_error,
        },
        "lengths": {
            "words": _distribution(found.words),
            "tokens": _distribution(found.tokens),
        },
        "windows": _windows(found.tokens, context),
    }


def _distribution(lengths: Distinct) -> dict[str, Any]:
    """Return mean, quantiles and a histogram whose bins begin at powers of two."""
    values, counts = lengths.keys.astype(np.int64), lengths.counts
    if not len(values):
        return {}
    number, total = int(counts.sum()), int(values @ counts)
    ranks = np.cumsum(counts)
    quantiles = {
        name: int(values[np.searchsorted(ranks, share * number)])
        for name, share in (("least", 0.0), ("p5", 0.05), ("median", 0.5), ("p95", 0.95))
    }
    return {**quantiles, "most": int(values[-1]), "mean": total / number, "histogram": _bins(values, counts)}


def _bins(values: NDArray[np.int64], counts: NDArray[np.int64]) -> list[dict[str, int]]:
    bits = [length.bit_length() for length in values.tolist()]
    bins = []
    for number in range(min(bits), max(bits) + 1):
        inside = np.array([bit == number for bit in bits])
        low = 1 << (number - 1) if number else 0
        bins.append(
            {
                "from": low,
                "to": max(0, 2 * low - 1),
                "documents": int(counts[inside].sum()),
                "sum": int(values[inside] @ counts[inside]),
            }
        )
    return bins


def _windows(tokens: Distinct, context: int) -> dict[str, Any]:
    """Return how documents relate to windows of so many tokens; the first token of each is no target."""
    targets_each, counts = tokens.keys.astype(np.int64) - 1, tokens.counts
    windows = (targets_each + context - 1) // context
    places = int(windows @ counts) * context
    targets = int(targets_each @ counts)
    return {
        "longer_documents": int(counts[targets_each > context].sum()),
        "padding_if_padded": 1 - targets / places if places else 0.0,
    }


def _shared(found: TextStatistics) -> dict[str, float]:
    if not {"train", "validation"} <= found.sides.keys():
        return {}
    train, held_out = found.sides["train"], found.sides["validation"]
    return {
        "types": held_out.types.shared_with(train.types),
        "documents": held_out.documents.shared_with(train.documents),
    }


def _losses(source: PreparedSource) -> Iterator[dict[str, Any]]:
    """Yield what was read and is not there, step by step, or stands there otherwise."""
    manifest = source.manifest
    for name, count in manifest["dropped"].items():
        if name == "empty_documents" and count:
            yield {"step": "blank documents", "documents": count, "bytes": manifest["dropped"]["bytes"]}
        elif name not in ("empty_documents", "bytes") and count:
            yield {"step": name, "counts": {name: count}}
    if manifest["cut"]["documents"]:
        yield {"step": "cut", "counts": {"documents on both sides": manifest["cut"]["documents"]}}
    for step in manifest.get("steps", []):
        about = step["filter"]["type"] if step["type"] == "filter" else step["type"]
        lost = {unit: step[unit]["lost"] for unit in ("documents", "words", "bytes")}
        yield {"step": about, **lost, "counts": {name: n for name, n in step["counts"].items() if n}}
