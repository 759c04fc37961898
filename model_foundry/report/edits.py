"""What a corpus's manifest tells of the steps that its text went through: filters and interventions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Line = dict[str, Any]

_SHOWN = (
    ("candidates", "candidates"),
    ("chosen", "chosen"),
    ("words_removed", "words removed"),
    ("words_added", "added"),
    ("bytes_removed", "bytes removed"),
    ("bytes_added", "added"),
    ("sentences_reordered", "sentences reordered"),
    ("documents", "documents changed"),
)


def edits_header() -> list[str]:
    """Return the names of the counts of ``edits_of``."""
    return [shown for _, shown in _SHOWN]


def edits_of(corpus: Line) -> list[tuple[str, str, list[int]]]:
    """Return source, intervention and counts of every intervention, in order."""
    found = []
    for source in _sources(corpus):
        for step in source.get("steps", []):
            if step.get("type") == "interventions":
                counts = step.get("counts", {})
                for number, part in enumerate(step["interventions"]):
                    prefix = f"{number}/{part['type']}"
                    values = [int(counts.get(f"{prefix}/{key}", 0)) for key, _ in _SHOWN]
                    intensity = f" at {part['intensity']:.3g}" if part["intensity"] < 1 else ""
                    found.append((str(source.get("name", "")), f"{part['type']}{intensity}", values))
    return found


def exposures_of(corpus: Line) -> list[str]:
    """Return a sentence for every source whose exposure was matched."""
    return [
        f"{source.get('name', '')}: {step['kept'] + step['refilled']:,} of {step['target']:,} "
        f"{step['unit']}, "
        f"{step['refilled']:,} of them from {step['counts'].get('refilled', 0):,} of the pool's "
        f"{step['counts'].get('pool', 0):,} documents"
        for source in _sources(corpus)
        for step in source.get("steps", [])
        if step.get("type") == "pool"
    ]


def losses_of(corpus: Line) -> list[tuple[str, str, list[int], str]]:
    """Return source, filter, lost documents, words and bytes, and why, of every filter in order."""
    return [
        (
            str(source.get("name", "")),
            str(step["filter"]["type"]),
            [int(step[unit]["lost"]) for unit in ("documents", "words", "bytes")],
            ", ".join(f"{count:,} {reason}" for reason, count in step["counts"].items() if count),
        )
        for source in _sources(corpus)
        for step in source.get("steps", [])
        if step.get("type") == "filter"
    ]


def _sources(corpus: Line) -> Iterator[Line]:
    yield from corpus.get("sources", [])
    yield from corpus.get("held_out", [])
