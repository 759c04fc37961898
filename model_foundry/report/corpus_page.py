"""A prepared corpus as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_foundry.manifest import write_atomically
from model_foundry.report.corpus_text import text_of
from model_foundry.report.page import fill


def write_corpus_page(name: str, manifest: dict[str, Any], statistics: dict[str, Any], out: Path) -> Path:
    """Write the page to ``out`` and return where it is.

    Args:
        name: The page's title.
        manifest: As ``corpus_manifest`` returns it.
        statistics: As ``describe_corpus`` returns it.
        out: The page; its folder is made.
    """
    sources = [source for group in ("sources", "held_out") for source in manifest[group]]
    sums = {
        unit: sum(counts[unit] for source in sources for counts in source["splits"].values())
        for unit in ("documents", "words", "tokens")
    }
    cards = [("sources", f"{len(sources):,}"), *((unit, f"{number:,}") for unit, number in sums.items())]
    if "total" in statistics:
        types = statistics["total"].get("train", {}).get("types", {}).get("number")
        cards += [("types in training", f"{types:,}")] if types is not None else []
    cards.append(("ids of the tokenizer", f"{manifest['tokenizer_vocab_size']:,}"))
    out.parent.mkdir(parents=True, exist_ok=True)
    page = fill("corpus.html.jinja", title=name, axes={}, cards=cards, text=text_of(manifest, statistics))
    write_atomically(out, page)
    return out
