"""A run in a notebook: its records as data frames."""

from __future__ import annotations

import pytest

from model_foundry import load_run
from tests.report.conftest import MakeRun
from tests.report.test_comparison import evaluated


def test_records_are_frames(make_run: MakeRun):
    run = load_run(evaluated(make_run, "a", correct=[1.0, 0.0]))

    assert list(run.metrics["update"]) == list(range(1, 41))
    assert run.metrics["loss"][3] == pytest.approx(4 / 2)
    assert list(run.checkpoints["name"]) == ["checkpoint-40"]
    assert list(run.samples["prompt"]) == ["It"]
    whole = run.evaluations[(run.evaluations.level == "all") & (run.evaluations["update"] == 40)]
    assert whole["value"].tolist() == [0.5]
    assert run.items("pairs", "checkpoint-40")["correct"].mean() == 0.5
    assert run.status["state"] == "finished"


def test_a_run_without_records_has_empty_frames(make_run: MakeRun):
    run = make_run()
    (run / "metrics.jsonl").unlink()

    assert load_run(run).metrics.empty
    assert load_run(run).evaluations.empty
