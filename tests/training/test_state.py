from __future__ import annotations

import json
from itertools import pairwise

import pytest

from model_foundry.batch_schedule import BatchSchedule
from model_foundry.training.state import Timetable, TrainState
from model_foundry.units import Duration


def states(updates: int, tokens_each: int = 10) -> list[TrainState]:
    found = [TrainState()]
    for _ in range(updates):
        found.append(found[-1].after([tokens_each, 7, 40, 1]))
    return found


def falls(table: Timetable, run: list[TrainState]) -> list[int]:
    return [
        now.updates for before, now in zip([None, *run], run, strict=False) if table.falls_on(before, now)
    ]


def table(*points: str, every: str | None = None, updates: int = 20, per_epoch: int = 8) -> Timetable:
    interval = Duration.parse(every) if every else None
    return Timetable(
        map(Duration.parse, points), every=interval, updates=updates, batches=BatchSchedule(per_epoch, 1)
    )


def test_an_update_adds_what_it_showed():
    state = TrainState().after([10, 7, 40, 1]).after([5, 3, 20, 0])

    assert state == TrainState(updates=2, tokens=15, words=10, bytes=60, documents=1)
    assert TrainState(**state.as_json()) == state


@pytest.mark.parametrize(
    ("points", "due"),
    [
        (["0", "3", "7 updates"], [0, 3, 7]),
        (["1 epoch", "1.5 epochs"], [8, 12]),
        (["10%"], [2]),
        (["35 tokens"], [4]),
        (["40 tokens"], [4]),
        (["15 words"], [3]),
        (["0 words"], [0]),
        (["1 document"], [1]),
        (["100 bytes", "3"], [3]),
    ],
)
def test_a_point_falls_on_the_first_update_at_or_past_it(points, due):
    assert falls(table(*points), states(12)) == due


@pytest.mark.parametrize(
    ("every", "due"),
    [
        ("4", [0, 4, 8, 12]),
        ("1 epoch", [0, 8]),
        ("0.5 epochs", [0, 4, 8, 12]),
        ("25 tokens", [0, 3, 5, 8, 10]),
        ("10%", [0, 2, 4, 6, 8, 10, 12]),
    ],
)
def test_an_interval_is_due_at_its_multiples_from_the_start_on(every, due):
    assert falls(table(every=every), states(12)) == due


def test_what_is_due_does_not_depend_on_where_a_run_was_resumed():
    run = states(12)
    schedule = table("15 words", every="25 tokens")

    whole = falls(schedule, run)
    resumed = [now.updates for before, now in pairwise(run[5:]) if schedule.falls_on(before, now)]

    assert [update for update in whole if update > 5] == resumed


def test_attempts_run_ahead_of_the_updates_by_those_that_were_passed_over():
    state = states(3)[-1]

    skipped = state.after_skip([10, 7, 40, 1])

    assert (state.attempt, skipped.attempt, skipped.updates, skipped.tokens) == (3, 4, 3, 40)
    assert (skipped.skipped_updates, skipped.passed_over) == (1, (3,))
    assert skipped.after([10, 7, 40, 1]).attempt == 5


@pytest.mark.parametrize(
    ("updates", "passed_over", "attempt"),
    [
        (0, (), 0),
        (2, (5,), 2),
        (5, (5,), 6),
        (5, (5, 6), 7),
        (5, (6, 5), 7),
        (5, (0, 3, 7), 8),
        (0, (0, 1), 2),
    ],
)
def test_the_next_attempt_has_as_many_applied_ones_before_it_as_there_are_updates(
    updates, passed_over, attempt
):
    state = TrainState(updates=updates, passed_over=passed_over)

    assert state.attempt == attempt
    applied = [number for number in range(attempt) if number not in passed_over]
    assert len(applied) == updates
    assert attempt not in passed_over


def test_the_clock_survives_being_written_as_json():
    state = states(3)[-1].after_skip([10, 7, 40, 1])

    assert TrainState.from_record(json.loads(json.dumps({**state.as_json(), "other": 1}))) == state
