from __future__ import annotations

import json

from model_foundry.training.phases import PHASES, Phases


def test_time_goes_to_the_phase_that_was_entered_and_to_none_while_the_clock_stands():
    phases = Phases(iter([0.0, 1.0, 3.0, 7.0, 100.0, 101.0, 101.5]).__next__)
    for phase in ("data", "forward", "backward", None, "data", "other"):
        phases.enter(phase)

    found = phases.read()

    assert found == {
        "data_seconds": 1.0 + 1.0,
        "forward_seconds": 2.0,
        "backward_seconds": 4.0,
        "optimizer_seconds": 0.0,
        "other_seconds": 0.5,
    }


def test_a_reading_begins_anew_and_leaves_the_phase_going_on():
    phases = Phases(iter([0.0, 5.0, 7.0]).__next__)
    phases.enter("other")
    phases.read()

    assert phases.read()["other_seconds"] == 2.0


def test_the_phases_of_a_run_hold_at_least_what_its_updates_took(finished_run):
    file = finished_run.folder / "runs/tiny/metrics.jsonl"
    lines = [line for line in map(json.loads, file.read_text().splitlines()) if "learning_rate" in line]
    tokens = [0, *(line["tokens"] for line in lines)]

    assert len(lines) == 24
    for line, before in zip(lines, tokens, strict=False):
        seconds = [line[f"{phase}_seconds"] for phase in PHASES]
        assert min(seconds) > 0
        assert sum(seconds) >= 0.999 * (line["tokens"] - before) / line["tokens_per_second"]
        assert line["data_seconds"] >= line["data_wait_seconds"]
