"""What a page says of a corpus: its sources, types, lengths, duplicates, and what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_foundry.report.bars import draw_bars
from model_foundry.report.edits import edits_header, edits_of, exposures_of, losses_of
from model_foundry.report.svg import short

Line = dict[str, Any]

_TOTAL = "all sources"
_LENGTHS = ("least", "p5", "median", "p95", "most", "mean")


@dataclass(frozen=True)
class Histogram:
    """Documents by their length, with the numbers behind it."""

    title: str
    unit: str
    legend: list[str]
    drawing: str
    header: list[str]
    rows: list[list[str]]


def text_of(manifest: Line, statistics: Line) -> Line:
    """Return the values of the template ``text.html.jinja``.

    Args:
        manifest: As ``corpus_manifest`` returns it; empty where it is not recorded.
        statistics: As ``describe_corpus`` returns it; empty where it is not recorded.
    """
    described = list(_sides(statistics))
    has_statistics = any("types" in facts for _, _, facts in described)
    errors = [
        facts[key]["standard_error"]
        for _, _, facts in described
        for key in ("types", "duplicates")
        if key in facts
    ]
    return {
        "sources": list(_rows(described)) if described else _plain_rows(manifest),
        "has_statistics": has_statistics,
        "is_old": bool(described) and "total" not in statistics,
        "error": f"{max(errors):.2%}" if any(errors) else "",
        "notes": list(_notes(statistics)),
        "figures": list(_figures(statistics)),
        "lengths_header": _LENGTHS,
        "lengths": list(_lengths(described)),
        "left_out": list(_left_out(manifest)),
        "losses": losses_of(manifest),
        "edits": edits_of(manifest),
        "edits_header": edits_header(),
        "exposures": exposures_of(manifest),
        "digest": manifest.get("digest", ""),
        "tokenizer": manifest.get("tokenizer_sha256", ""),
    }


def _sides(statistics: Line) -> Iterator[tuple[str, str, Line]]:
    """Yield name, side and facts of every source, and of all where there are several of a side."""
    sources = statistics.get("sources", [])
    for source in sources:
        for side, facts in source["sides"].items():
            yield source["name"], side, facts
    for side, facts in statistics.get("total", {}).items():
        if sum(side in source["sides"] for source in sources) > 1:
            yield _TOTAL, side, facts


def _rows(described: list[tuple[str, str, Line]]) -> Iterator[Line]:
    for name, side, facts in described:
        shown = [f"{facts['share']['words']:.1%}" if "share" in facts else ""]
        if "types" in facts:
            types, again = facts["types"], facts["duplicates"]
            shown += [_about(types[key], types) for key in ("number", "once")]
            shown += [
                f"{_about(again[unit], again)} ({again[unit] / max(1, facts[unit]):.1%})"
                for unit in ("documents", "words")
            ]
        yield {"name": name, "side": side, **facts, "facts": [*shown, *[""] * (5 - len(shown))]}


def _about(number: int, facts: Line) -> str:
    return f"{'≈ ' if facts['standard_error'] else ''}{number:,}"


def _plain_rows(manifest: Line) -> list[Line]:
    return [
        {"name": source.get("name", ""), "side": side, **counts}
        for source in [*manifest.get("sources", []), *manifest.get("held_out", [])]
        for side, counts in source.get("splits", {}).items()
    ]


def _notes(statistics: Line) -> Iterator[str]:
    if shared := statistics.get("shared"):
        yield (
            f"Of the held-out text's types {shared['types']:.1%} are in the training text, too; of its "
            f"documents {shared['documents']:.1%} have the words of a training document."
        )
    for side, facts in statistics.get("total", {}).items():
        windows, context = facts["windows"], statistics["context"]
        longer = windows["longer_documents"]
        share = longer / max(1, facts["documents"])
        yield (
            f"Windows of {context:,} tokens, {side}: {longer:,} documents ({share:.1%}) are longer than one. "
            f"A row for each (documents: pad) would leave {windows['padding_if_padded']:.1%} of all "
            "places empty; one after the other only the last window is padded. Nothing is cut off in either."
        )


def _figures(statistics: Line) -> Iterator[Histogram]:
    total = statistics.get("total", {})
    for unit in ("words", "tokens"):
        sides = {
            side: facts["lengths"][unit]["histogram"]
            for side, facts in total.items()
            if facts["lengths"][unit]
        }
        edges = sorted({(item["from"], item["to"]) for bins in sides.values() for item in bins})
        if not edges:
            continue
        counts = {side: {item["from"]: item for item in bins} for side, bins in sides.items()}
        shares = [
            (
                side,
                [
                    100 * of.get(low, {}).get("documents", 0) / max(1, total[side]["documents"])
                    for low, _ in edges
                ],
            )
            for side, of in counts.items()
        ]
        title = f"Documents by their length in {unit}"
        labels = [short(low) for low, _ in edges]
        yield Histogram(
            title,
            "percent of the documents, a bar from each power of two",
            list(sides),
            draw_bars(labels, shares, title, f"{unit} or more"),
            ["from", "to", *(f"{name}: {what}" for name in sides for what in ("documents", unit))],
            [
                [f"{low:,}", f"{high:,}"]
                + [
                    f"{of.get(low, {}).get(what, 0):,}"
                    for of in counts.values()
                    for what in ("documents", "sum")
                ]
                for low, high in edges
            ],
        )


def _lengths(described: list[tuple[str, str, Line]]) -> Iterator[tuple[str, str, str, list[str]]]:
    for name, side, facts in described:
        for unit, lengths in facts.get("lengths", {}).items():
            if lengths:
                shown = [f"{lengths[key]:,.1f}" if key == "mean" else f"{lengths[key]:,}" for key in _LENGTHS]
                yield name, side, unit, shown


def _left_out(manifest: Line) -> Iterator[tuple[str, str, str]]:
    """Yield source, what, and how many: of what was read and is not there, before any filter."""
    for source in [*manifest.get("sources", []), *manifest.get("held_out", [])]:
        name, dropped = str(source.get("name", "")), source.get("dropped", {})
        if number := dropped.get("empty_documents"):
            yield name, f"blank documents of {dropped['bytes']:,} bytes, left out", f"{number:,}"
        for what, number in dropped.items():
            if what not in ("empty_documents", "bytes") and number:
                yield name, what.replace("_", " "), f"{number:,}"
        if source.get("cut", {}).get("documents"):
            yield name, "documents with their beginning in training and their end held out", "1"
