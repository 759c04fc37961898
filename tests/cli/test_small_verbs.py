"""The verbs check, runs, watch and doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.cli.watch import sparkline
from model_foundry.errors import RecipeError, RunDirectoryError
from model_foundry.running import examination
from model_foundry.running.examination import examine
from tests.report.conftest import MakeRun, make_run

__all__ = ["make_run"]  # a fixture


def told(*arguments: str) -> str:
    """Run a verb in this process and return what it printed; it must end well."""
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_check_says_that_a_recipe_is_right():
    assert told("check", "demo", "name=mine").endswith("demo.yaml: no problems; run mine\n")


def test_check_prints_the_whole_recipe():
    assert "learning_rate: 0.1" in told("check", "demo", "optimizer.learning_rate=0.1", "--resolved")
    assert json.loads(told("check", "demo", "--json"))["model"]["type"] == "gpt2"


def test_check_tells_all_problems_at_once():
    with pytest.raises(RecipeError, match=r"(?s)modle.*seed"):
        told("check", "demo", "modle.layers=1", "seed=x")


def test_check_reads_the_small_size_too(tmp_path: Path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text("extends: demo\nsmoke: {modle: {layers: 1}}\n")

    with pytest.raises(RecipeError, match=r"r\.yaml:2:9 modle: unknown key\. Did you mean 'model'"):
        told("check", str(recipe))


def test_runs_are_listed_newest_first_with_how_they_stand(make_run: MakeRun):
    folder = make_run(name="a").parent
    other = make_run(name="b")
    status = json.loads((other / "status.json").read_text())
    newer = {**status, "state": "failed", "started_at": "2027-01-01T00:00:00Z"}
    (other / "status.json").write_text(json.dumps(newer))

    header, first, second = told("runs", "list", str(folder)).splitlines()

    assert header.split()[:3] == ["run", "state", "updates"]
    assert first.split()[:5] == ["b", "failed", "40", "of", "40"]
    assert second.split()[:2] == ["a", "finished"]
    rows = [json.loads(line) for line in told("runs", "list", str(folder), "--json").splitlines()]
    assert [row["held-out loss"] for row in rows] == [0.1, 0.1]


def test_a_folder_of_runs_that_is_not_there_is_said(tmp_path: Path):
    with pytest.raises(RunDirectoryError, match="there is no such folder"):
        told("runs", "list", str(tmp_path / "none"))
    assert told("runs", "list", str(tmp_path)) == f"no runs in {tmp_path}\n"


def test_watch_shows_progress_numbers_and_events(make_run: MakeRun):
    output = told("watch", str(make_run()))

    assert "tiny · finished" in output
    assert f"{'█' * 60} 40/40 updates" in output
    assert "loss 0.6325" in output
    assert "perplexity/loss 0.1000" in output
    assert "t1 resume" in output


def test_watch_of_a_run_that_has_hardly_begun_says_what_there_is(tmp_path: Path):
    (tmp_path / "status.json").write_text('{"state": "running"}')

    assert "running" in told("watch", str(tmp_path), "--once")


def test_a_sparkline_has_means_from_lowest_to_highest():
    assert sparkline([1.0, 3.0, 5.0, 7.0], width=2) == "▁█"
    assert sparkline([float("nan"), 1.0]) == "▁"
    assert sparkline([]) == ""


def test_doctor_finds_this_machine_fit_and_leaves_nothing_behind(tmp_path: Path):
    findings = {finding.what: finding for finding in examine(tmp_path)}

    assert {finding.what for finding in findings.values() if finding.verdict == "bad"} == set()
    assert findings["two processes"].found == "summed a number over loopback"
    assert "torch 2." in findings["packages"].found
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_the_repair_beneath_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    # What this machine has is not ours to take away: what it says is.
    monkeypatch.setattr(examination, "package_versions", lambda: {"torch": "1", "datasets": "not installed"})
    monkeypatch.setenv("MODEL_FOUNDRY_CACHE", "/proc/no/cache")
    monkeypatch.setattr(
        examination, "_two_processes", lambda: examination.Finding("two processes", "good", "")
    )

    done = CliRunner().invoke(app, ["doctor", "--folder", str(tmp_path)])

    assert done.exit_code == 1
    assert "BAD   packages: torch 1, datasets not installed\n      pip install datasets" in done.output


@pytest.mark.parametrize(("threads", "why"), [(1, "cores are left unused"), (8, "more threads than cores")])
def test_doctor_says_why_another_number_of_threads_is_better(
    monkeypatch: pytest.MonkeyPatch, threads: int, why: str
):
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})

    finding = examination._threads()

    assert finding.verdict == "note"
    assert finding.repair.startswith(f"Set OMP_NUM_THREADS=2: {why}")


def test_doctor_names_the_extras_that_are_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examination, "find_spec", lambda name: None if name == "matplotlib" else True)

    finding = examination._extras()

    assert finding.found == "track, eval, optimizers; not installed: plots"
    assert "plots: figures as files" in finding.repair
    assert finding.repair.endswith("pip install 'model-foundry[plots]'")


@pytest.mark.parametrize("verb", ["check", "runs", "watch", "doctor", "report", "compare"])
def test_help_has_an_example_and_imports_no_torch(verb: str):
    code = (
        "import sys; from model_foundry.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)"
    )
    arguments = [verb, "list", "--help"] if verb == "runs" else [verb, "--help"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "200"},
    )

    assert "Example: model-foundry" in done.stdout
    assert done.stdout.rstrip().endswith("False")
