"""The page of a run: what it shows, that it needs nothing else, and that a browser is content with it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from model_foundry.errors import RunDirectoryError
from model_foundry.report.facts import read_run
from model_foundry.report.page import render, write_report
from model_foundry.running.reporting import keep_report
from tests.report.conftest import MakeRun

VOID = {"meta", "link", "input", "br", "circle", "path"}


class Balance(HTMLParser):
    """Collects tags that were opened and never closed, or closed and never opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def cells(page: str, title: str) -> list[list[str]]:
    """Return the rows of numbers behind the plot called ``title``."""
    figure = next(part for part in page.split("<figure>")[1:] if part.strip().startswith(f"<h3>{title}"))
    rows = re.findall(r"<tr>(.*?)</tr>", figure, re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_shows_what_the_files_say(make_run: MakeRun):
    page = render(read_run(make_run()))

    assert "<b>1,234</b><span>parameters</span>" in page
    assert "<b>40 of 40</b><span>updates</span>" in page
    assert "<b>2 h 5 min</b>" in page
    assert "<b>0.1000</b><span>held-out loss</span>" in page
    assert "<td>checkpoint-40</td>" in page
    assert "1.5</td><td>yes</td>" in page
    assert "checkpoint: checkpoint-10" in page
    assert 'class="state finished"' in page
    assert '<td class="n">90</td>' in page


def test_the_table_behind_a_plot_has_the_numbers_of_the_files(make_run: MakeRun):
    header, *rows = cells(render(read_run(make_run())), "Loss")

    assert header == ["update", "each update", "smoothed", "held out"]
    assert rows[0] == ["1", "4", "4", ""]
    assert [row[0] for row in rows[:3]] == ["1", "2", "4"], "a loss that is not finite is not drawn"
    assert rows[-1][3] == "0.1"


def test_an_incident_without_an_update_has_an_empty_place_and_a_long_list_is_counted(make_run: MakeRun):
    run = make_run()
    windows = [{"position": number} for number in range(8)]
    facts = {"event": "non_finite", "update": 7, "windows": windows, "time": "t2"}
    with (run / "events.jsonl").open("w") as file:
        file.write(json.dumps({"event": "resume", "checkpoint": "checkpoint-10", "time": "t1"}) + "\n")
        file.write(json.dumps(facts) + "\n")

    page = render(read_run(run))

    assert '<td class="when">t1</td><td class="n"></td><td>resume</td>' in page
    assert '<td class="n">7</td><td>non_finite</td><td class="text">8 windows, listed in events.jsonl' in page
    assert "built-in" not in page


def test_perplexities_are_drawn_by_their_powers_of_ten(make_run: MakeRun):
    run = make_run()
    lines = [{"update": update, "perplexity/perplexity": 10.0 ** (3 - update)} for update in (1, 2, 3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    page = render(read_run(run))

    drawing = page[page.index('aria-label="perplexity: perplexity over updates"') :]
    heights = [float(y) for y in re.findall(r'<circle class="dot c1" cx="\S+" cy="(\S+)"', drawing)[:3]]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.11)
    assert all(f">{label}</text>" in drawing for label in ("1", "10", "100"))


def test_every_clock_that_the_files_have_can_be_the_axis(make_run: MakeRun):
    page = render(read_run(make_run()))

    for axis in ("update", "tokens", "words", "hours"):
        assert f'id="x-{axis}"' in page
        assert page.count(f'class="plot x-{axis}"') == page.count("<figure>")


def test_shows_what_interventions_did_to_the_text(make_run: MakeRun):
    run = make_run()
    corpus = json.loads((run / "corpus.manifest.json").read_text())
    parts = [{"type": "identity", "intensity": 1.0}, {"type": "remove_articles", "intensity": 0.25}]
    counts = {"1/remove_articles/candidates": 4000, "1/remove_articles/words_removed": 1007}
    pool = {"type": "pool", "unit": "words", "target": 5000, "kept": 4500, "refilled": 502}
    corpus["sources"][0]["steps"] = [
        {**pool, "counts": {"pool": 12, "refilled": 3}},
        {"type": "interventions", "interventions": parts, "counts": counts},
    ]
    (run / "corpus.manifest.json").write_text(json.dumps(corpus))

    page = render(read_run(run))

    table = page.partition("<h3>Interventions</h3>")[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert rows == [
        ["a-0", "identity", *["0"] * 8],
        ["a-0", "remove_articles at 0.25", "4,000", "0", "1,007", *["0"] * 5],
    ]
    assert "a-0: 5,002 of 5,000 words, 502 of them from 3 of the pool&#39;s 12 documents" in page


def test_shows_what_each_filter_lost_and_why(make_run: MakeRun):
    run = make_run()
    corpus = json.loads((run / "corpus.manifest.json").read_text())
    lost = {
        unit: {"in": 9000, "out": 9000 - n, "lost": n} for unit, n in (("documents", 12), ("words", 1234))
    }
    corpus["sources"][0]["steps"] = [
        {
            "type": "filter",
            "filter": {"type": "length", "min_words": 3},
            **lost,
            "bytes": {"in": 9, "out": 2, "lost": 7},
            "counts": {"too_short": 10, "too_long": 2},
        }
    ]
    (run / "corpus.manifest.json").write_text(json.dumps(corpus))

    page = render(read_run(run))

    table = page.partition("<h3>Filters</h3>")[2].partition("</table>")[0]
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    assert rows == [["a-0", "length", "12", "1,234", "7", "10 too_short, 2 too_long"]]
    assert "<h3>Filters</h3>" not in render(read_run(make_run(name="plain")))


def test_needs_no_network_and_no_script_and_is_well_formed(make_run: MakeRun):
    page = render(read_run(make_run()))
    balance = Balance()
    balance.feed(page)

    assert not re.search(r"(src|href)=\"(?!data:,)|url\(|@import|<script", page)
    assert (balance.wrong, balance.open) == ([], [])


def test_text_of_a_model_stays_text(make_run: MakeRun):
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in render(read_run(make_run()))


def test_stays_below_a_megabyte_however_long_the_run(make_run: MakeRun):
    page = render(read_run(make_run(updates=30_000)))

    assert len(page.encode()) < 1_000_000


def test_is_written_for_a_run_that_has_hardly_begun(tmp_path: Path):
    (tmp_path / "status.json").write_text('{"state": "failed", "message": "there was no text"}')

    page = write_report(tmp_path).read_text()

    assert "there was no text" in page
    assert "Nothing was measured twice yet" in page


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match=r"no run is there .* Name a run's folder"):
        write_report(tmp_path)


def test_a_report_that_cannot_be_written_is_a_line_in_the_log(
    make_run: MakeRun, caplog: pytest.LogCaptureFixture
):
    run = make_run()
    (run / "metrics.jsonl").write_text('{"update": null, "loss": 1.0}')

    keep_report(run)

    assert "the report could not be written: TypeError" in caplog.text
    assert not (run / "report.html").exists()


def test_a_run_that_did_not_go_on_keeps_its_page(make_run: MakeRun):
    run = make_run()
    keep_report(run)
    (run / "report.html").write_text("as it was")

    keep_report(run)

    assert (run / "report.html").read_text() == "as it was"


def test_every_paradigm_has_a_curve_of_its_own(make_run: MakeRun):
    run = make_run()
    row = {"suite": "blimp", "level": "paradigm", "measure": "accuracy"}
    rows = [
        {**row, "group": group, "update": update, "value": value + update / 100}
        for group, value in (("island_a", 0.5), ("island_b", 0.25))
        for update in (0, 10)
    ]
    (run / "evaluations").mkdir()
    (run / "evaluations" / "blimp.json").write_text(json.dumps({"rows": rows}))
    (run / "evaluations" / "torn.json").write_text('{"rows": [{"sui')

    page = render(read_run(run))

    assert "blimp: accuracy by paradigm (2)" in page
    for group, first, last in (("island_a", "0.5000", "0.6000"), ("island_b", "0.2500", "0.3500")):
        found = re.search(
            rf"<td>{group}</td><td class=.n.>(.*?)</td><td>(.*?)</td><td class=.n.>(.*?)</td>", page
        )
        assert found is not None
        assert (found[1], found[3]) == (first, last)
        assert 'aria-label="' + group in found[2]


@pytest.mark.slow
def test_a_browser_draws_it_without_complaint_in_light_and_dark(make_run: MakeRun, tmp_path: Path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    page = write_report(make_run())
    pictures = []
    for flags in ([], ["--force-dark-mode"]):
        picture = tmp_path / f"picture{len(flags)}.png"
        done = subprocess.run(
            [
                browser,
                *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
                *("--disable-background-networking", "--disable-component-update", "--enable-logging=stderr"),
                f"--user-data-dir={tmp_path / 'profile'}",
                "--window-size=900,1600",
                *flags,
                f"--screenshot={picture}",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ":CONSOLE" not in done.stderr, done.stderr
        pictures.append(picture.read_bytes())

    assert all(len(picture) > 10_000 for picture in pictures), "an empty page is smaller"
    assert pictures[0] != pictures[1]
