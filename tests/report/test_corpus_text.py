"""What pages say of a corpus, from the statistics of a small one whose numbers are known."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model_foundry.corpus.describing import describe_side
from model_foundry.corpus.statistics import SideCounts
from model_foundry.report.bars import draw_bars
from model_foundry.report.corpus_page import write_corpus_page
from model_foundry.report.corpus_text import text_of
from model_foundry.report.facts import read_run
from model_foundry.report.page import render
from tests.report.conftest import MakeRun
from tests.report.test_report_page import Balance, cells

LENGTHS = [1, 2, 3, 4, 9]


def side(*, most: int | None = None) -> dict[str, Any]:
    """Return the statistics of five documents of 19 words, 12 of them different; two are the same."""
    found = SideCounts()
    if most is not None:
        for one in (found.types, found.documents):
            one._most = most
    found.types.add(np.array([*range(0, 12), *range(0, 7)], np.uint64) << np.uint64(60))
    found.documents.add(np.array([1, 2, 3, 3, 4], np.uint64) << np.uint64(61), np.array([1, 2, 3, 3, 9]))
    found.words.add(np.array(LENGTHS, np.uint64))
    found.tokens.add(np.array(LENGTHS, np.uint64) + np.uint64(1))
    return describe_side(found, {"documents": 5, "words": 19, "bytes": 100, "tokens": 24}, 4)


def statistics(*names: str, **changes: Any) -> dict[str, Any]:
    facts = side(**changes)
    source = {"sides": {"train": {**facts, "share": {"words": 1 / len(names)}}}}
    return {
        "context": 4,
        "sources": [{"name": name, **source} for name in names],
        "total": {"train": facts},
        "shared": {},
    }


def rows(page: str, after: str) -> list[list[str]]:
    table = page.partition(after)[2].partition("</table>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]


@pytest.fixture
def run(make_run: MakeRun) -> Path:
    run = make_run()
    (run / "corpus.statistics.json").write_text(json.dumps(statistics("a-0")))
    return run


def test_a_run_tells_types_repetitions_and_lengths(run: Path):
    page = render(read_run(run))

    assert rows(page, "<h2>Text</h2>") == [
        ["a-0", "train", "5", "19", "100", "24", "100.0%", "12", "5", "1 (20.0%)", "4 (21.1%)"]
    ]
    assert rows(page, "<h3>Lengths of documents</h3>") == [
        ["a-0", "train", "words", "1", "1", "3", "9", "9", "3.8"],
        ["a-0", "train", "tokens", "2", "2", "4", "10", "10", "4.8"],
    ]
    assert "All are counts." in page
    assert "1 documents (20.0%) are longer than one" in page
    assert "would leave 32.1% of all places empty" in page  # 19 targets in 7 windows of 4


def test_the_table_behind_a_histogram_has_its_numbers(run: Path):
    page = render(read_run(run))

    assert cells(page, "Documents by their length in words") == [
        ["from", "to", "train: documents", "train: words"],
        ["1", "1", "1", "1"],
        ["2", "3", "2", "5"],
        ["4", "7", "1", "4"],
        ["8", "15", "1", "9"],
    ]


def test_several_sources_have_a_row_together(run: Path):
    (run / "corpus.statistics.json").write_text(json.dumps(statistics("a-0", "b-1")))

    names = [row[:2] for row in rows(render(read_run(run)), "<h2>Text</h2>")]

    assert names == [["a-0", "train"], ["b-1", "train"], ["all sources", "train"]]


def test_estimates_are_marked_with_their_error():
    found = text_of({}, statistics("a-0", most=10))

    assert found["error"] == "35.36%"  # 1 / sqrt(8)
    [source] = found["sources"]
    assert source["facts"][1].startswith("≈ ")
    assert not source["facts"][3].startswith("≈ ")


def test_what_was_read_otherwise_is_told():
    dropped = {"empty_documents": 3, "bytes": 5, "undecodable_bytes": 7, "replaced": 0}
    source = {"name": "a-0", "splits": {}, "dropped": dropped, "cut": {"documents": 1}}

    assert text_of({"sources": [source]}, {})["left_out"] == [
        ("a-0", "blank documents of 5 bytes, left out", "3"),
        ("a-0", "undecodable bytes", "7"),
        ("a-0", "documents with their beginning in training and their end held out", "1"),
    ]


def test_a_corpus_of_before_there_were_statistics_says_so(run: Path):
    old = statistics("a-0")
    del old["total"]
    counts = {"documents": 5, "words": 19, "bytes": 100, "tokens": 24, "share": {"words": 1.0}}
    old["sources"][0]["sides"]["train"] = counts
    (run / "corpus.statistics.json").write_text(json.dumps(old))

    page = render(read_run(run))

    assert "Prepared before statistics were counted" in page
    assert rows(page, "<h2>Text</h2>") == [["a-0", "train", "5", "19", "100", "24"]]


def test_the_page_of_a_corpus_is_whole_and_needs_nothing_else(tmp_path: Path):
    manifest = {
        "digest": "d",
        "tokenizer_sha256": "t",
        "tokenizer_vocab_size": 300,
        "sources": [{"name": "<a>", "splits": {"train": {"documents": 5, "words": 19, "tokens": 24}}}],
        "held_out": [],
    }

    page = write_corpus_page("cats", manifest, statistics("<a>"), tmp_path / "new" / "c.html").read_text()

    balance = Balance()
    balance.feed(
        page.replace("<rect", "<path").replace("</rect>", "").replace("<title>", "").replace("</title>", "")
    )
    assert not re.search(r"(src|href)=\"(?!data:,)|url\(|@import|<script|<a>", page)
    assert "<b>12</b><span>types in training</span>" in page
    assert (balance.wrong, balance.open) == ([], [])


def test_bars_are_as_high_as_their_values():
    drawing = draw_bars(["1", "2"], [("train", [50.0, 25.0]), ("validation", [0.0, 100.0])], "t", "words")

    heights = [float(value) for value in re.findall(r'<rect[^>]* height="([\d.]+)"', drawing)]
    assert heights[0] == pytest.approx(2 * heights[2], abs=0.1)
    assert heights[1] == 0
    assert heights[3] == pytest.approx(2 * heights[0], abs=0.1)
    assert "<title>train: 50 at 1 words</title>" in drawing
    assert draw_bars(["1"], [("train", [0.0])], "t", "words") == ""
