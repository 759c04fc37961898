"""From recorded turns to ratios, their spread, aims and the text of the page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from benchmarks import aims, sections
from benchmarks.page import page
from benchmarks.pictures import bars
from benchmarks.ratios import MEMORY, SPEED, Spread, best_arm, neighbours, shares_of_peak, spread
from benchmarks.records import read

RECORDED = Path(__file__).parent / "recorded.jsonl"


def turn(arm: str, number: int, speed: float, **others: Any) -> dict[str, Any]:
    same = {"session": "a", "size": "small", "precision": "bf16", "threads": 2, "kind": "training"}
    return {**same, "arm": arm, "round": number, SPEED: speed, MEMORY: 1e9, **others}


def test_a_ratio_is_taken_of_neighbours_before_the_median():
    turns = [turn("ours", n, speed) for n, speed in enumerate((100.0, 10.0, 60.0))]
    turns += [turn("hf_trainer", n, speed) for n, speed in enumerate((50.0, 10.0, 20.0))]

    found = neighbours(turns, "ours", "hf_trainer", SPEED)

    assert found == Spread(median=2.0, lowest=1.0, highest=3.0, count=3)


def test_turns_of_other_commands_rounds_and_failures_are_no_neighbours():
    turns = [turn("ours", 0, 100.0), turn("hf_trainer", 1, 50.0), turn("hf_trainer", 0, 50.0, session="b")]
    failed = {**turn("hf_trainer", 0, 1.0), "failed": "status 1"}
    del failed[SPEED]

    assert neighbours([*turns, failed], "ours", "hf_trainer", SPEED) is None


def test_a_share_of_the_peak_goes_by_the_peak_of_the_same_round():
    peaks = [{**turn("", n, 0), "flops_per_token": 10, "operations_per_second": 2000.0} for n in (0, 1)]

    found = shares_of_peak([turn("ours", 0, 100.0), turn("ours", 1, 120.0)], peaks, "ours")

    assert found == Spread(pytest.approx(0.55), 0.5, 0.6, 2)


def test_the_best_arm_is_the_fastest_that_has_the_flag():
    turns = [turn("ours", 0, 900.0), turn("ours+tcmalloc", 0, 500.0), turn("ours+regions+tcmalloc", 0, 700.0)]

    assert best_arm(turns, "ours", "tcmalloc") == "ours+regions+tcmalloc"
    assert best_arm(turns, "hf_trainer", "tcmalloc") is None


def test_a_spread_of_nothing_is_none():
    assert spread([]) is None
    assert spread([3.0, 1.0]) == Spread(2.0, 1.0, 3.0, 2)


@pytest.mark.parametrize(
    ("ratio", "at_least", "text"),
    [
        (1.4, True, "reached"),
        (1.39, True, "**missed**"),
        (0.62, False, "reached"),
        (0.63, False, "**missed**"),
    ],
)
def test_an_aim_is_reached_at_its_number(ratio: float, at_least: bool, text: str):
    wanted = 1.4 if at_least else 0.62

    row = aims.row("x", "y", Spread(ratio, ratio, ratio, 1), wanted, at_least=at_least)

    assert row.endswith(f"| {text} |")


def test_the_page_has_the_numbers_of_the_recorded_turns(tmp_path: Path):
    text = page(read(RECORDED), tmp_path)

    # ours 6000, 6200, 6400 beside 4000, 4000, 4400: 1.5, 1.55, 1.4545; 800 MB beside 1,300; peak 400 GFLOP/s,
    # 40 million operations a token.
    assert "| `ours` | 3 | 6,200 (6,000, 6,400) |  | 800 | 0.62 (0.60, 0.64) | 5.0 (5.0, 5.0) |" in text
    assert "| `hf_trainer` | 3 | 4,000 (4,000, 4,400) | 1.50 (1.45, 1.55) | 1,300 |" in text
    assert (
        "| HF Trainer, both at their defaults: tokens/s | `ours` / `hf_trainer` | 1.50 (1.45, 1.55) | 3 "
        "| at least 1.4 | reached |" in text
    )
    assert (
        "| HF Trainer, both at their defaults: peak memory | `ours` / `hf_trainer` | 0.62 (0.62, 0.62) | 3 "
        "| at most 0.62 | reached |" in text
    )
    assert "- `nanogpt` was not measured: its script computes in float32 on a CPU" in text
    assert "both with tcmalloc: tokens/s" not in text.split("## Training: small, fp32")[0]
    assert "the first 5 of 20" in text
    assert "Some Processor, AVX-512 bf16, 2 cores, 24 GiB" in text
    assert "Measured from 2026-11-24 to 2026-11-25." in text


def test_the_page_says_what_was_not_measured(tmp_path: Path):
    text = page(read(RECORDED), tmp_path)

    assert "## Training: medium, fp32\n" in text
    assert "an update, AdamW, gradient clipped at 1.\n\nNot measured.\n" in text
    assert "`ours+best` / `hf_trainer+best` | not measured | | at least 1.08 | |" in text
    assert "Not measured: name BLiMP's folder (`python -m benchmarks.evaluation`)." in text
    assert "Not measured (`python -m benchmarks.corpus`)." in text


def test_a_page_of_nothing_says_so(tmp_path: Path):
    text = page([], tmp_path)

    assert "Nothing was measured yet." in text
    assert text.count("Not measured") == 4 + len(sections.SECTIONS)


def test_the_sections_of_other_benchmarks_show_their_newest_result(tmp_path: Path):
    text = page(read(RECORDED), tmp_path)

    assert "`python -m benchmarks.phases`, 2026-11-25." in text
    assert "| `seed=1` | 7,000 | 55.90 | 42.20 | 1.50 | 0.14 | 0.32 | 0.46 (reached: at most 1) |" in text
    assert "| ours | 2.00 (1.90, 2.10) | 2.10 (2.00, 2.20) |" in text
    assert "| background stall | 0.17 | at most 0.5: reached |" in text


def test_a_picture_is_a_drawing_with_a_bar_for_each_arm():
    drawn = bars("speeds", [("ours", Spread(100.0, 90.0, 110.0, 3)), ("hf_trainer", Spread(50, 50, 50, 3))])

    root = ElementTree.fromstring(drawn)
    boxes = [item for item in root if item.tag.endswith("rect") and "class" in item.attrib]
    assert [item.attrib["class"] for item in boxes] == ["ours", "other"]
    assert float(boxes[0].attrib["width"]) == pytest.approx(2 * float(boxes[1].attrib["width"]), abs=0.2)


def test_the_recorded_file_is_lines_of_json():
    assert len([json.loads(line) for line in RECORDED.read_text().splitlines()]) == 17
