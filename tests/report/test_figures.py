"""The figures as files: what they are, what they show, what is said where they cannot be drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import RecipeError
from model_foundry.report import figures
from model_foundry.report.facts import read_run
from model_foundry.report.figures import write_figures
from model_foundry.report.page import write_reports
from model_foundry.report.plots import plots_of
from tests.report.conftest import MakeRun


def test_each_figure_is_a_file_of_each_format_beside_the_page(make_run: MakeRun):
    run = make_run()

    done = CliRunner().invoke(app, ["report", str(run), "--format", "html,png,pdf"], catch_exceptions=False)

    titles = [plot.title for plot in plots_of(read_run(run))]
    written = [Path(line) for line in done.output.split()]
    assert written[0] == run / "report.html"
    assert len(written) == 1 + 2 * len(titles)
    assert {"loss.png", "loss.pdf", "minimal_pairs_accuracy.pdf"} <= {path.name for path in written}
    assert all(path.parent == run / "plots" for path in written[1:])
    for path in written[1:]:
        begin = {"png": b"\x89PNG", "pdf": b"%PDF"}[path.suffix.removeprefix(".")]
        assert path.read_bytes().startswith(begin)


def test_a_picture_has_the_width_of_a_column_at_print_resolution(make_run: MakeRun, tmp_path: Path):
    write_figures(read_run(make_run()), ["png"], tmp_path / "plots", axis="update")

    header = (tmp_path / "plots" / "loss.png").read_bytes()[16:24]
    size = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")
    assert size == (1020, 660), "3.4 by 2.2 inches at 300 dots an inch"


def test_lines_are_those_of_the_series_over_the_axis_that_was_asked_for(make_run: MakeRun):
    [loss, *_] = plots_of(read_run(make_run()))

    figure = figures._draw(loss, "tokens")

    assert figure is not None
    [axes] = figure.axes
    drawn = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert list(drawn) == ["each update", "smoothed", "held out"]
    for item in loss.series:
        assert [tuple(point) for point in drawn[item.name]] == item.points("tokens")
    assert axes.get_xlabel() == "tokens"
    assert axes.get_ylabel() == "Loss (nats a target)"


def test_the_same_run_gives_the_same_files(make_run: MakeRun, tmp_path: Path):
    facts = read_run(make_run())
    for name in ("a", "b"):
        write_figures(facts, ["png", "pdf"], tmp_path / name, axis="update")

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_clock_that_the_files_do_not_have_gives_no_figures(make_run: MakeRun, tmp_path: Path):
    run = make_run()
    (run / "metrics.jsonl").write_text('{"update": 1, "loss": 2.0}\n{"update": 2, "loss": 1.0}\n')

    assert write_figures(read_run(run), ["png"], tmp_path, axis="words") == []


def test_without_matplotlib_the_extra_is_named_and_nothing_is_written(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
):
    run = make_run()
    monkeypatch.setattr(figures, "find_spec", lambda name: None)

    with pytest.raises(RecipeError, match=r"--format png needs .*matplotlib.*'model-foundry\[plots\]'.*html"):
        write_reports(run, formats="html,png", axis="update")

    assert not (run / "report.html").exists()
    assert write_reports(run, formats="html", axis="update") == [run / "report.html"]


def test_a_page_loads_no_matplotlib(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # whoever imports it fails

    assert write_reports(make_run(), formats="html", axis="update")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"formats": "html,svg", "axis": "update"},
            r"--format 'svg' is none. Expected one of: html, png",
        ),
        (
            {"formats": "png", "axis": "steps"},
            r"--axis 'steps' is none. Expected one of: update, tokens",
        ),
    ],
)
def test_what_is_no_format_or_axis_is_said(make_run: MakeRun, options: dict[str, str], message: str):
    with pytest.raises(RecipeError, match=message):
        write_reports(make_run(), **options)
