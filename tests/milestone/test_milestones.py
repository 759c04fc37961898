"""Checkpoint rules against published lists and lists written by hand."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from model_foundry.batch_schedule import BatchSchedule
from model_foundry.errors import RecipeError
from model_foundry.milestone import Milestone, RunLength
from model_foundry.parts import PartOf

RUN = RunLength(updates=300, batches=BatchSchedule(100, 1), tokens=30_000, words=21_000, bytes=120_000)


def run_of(updates: int, *, words: int = 0) -> RunLength:
    return RunLength(updates, BatchSchedule(updates, 1), updates * 10, words or updates * 7, updates * 40)


def points(run: RunLength, **section: Any) -> list[str]:
    rule: Milestone = TypeAdapter(PartOf[Milestone]).validate_python(section)
    return [str(point) for point in rule.points(run)]


def updates(run: RunLength, **section: Any) -> list[int]:
    found = points(run, **section)
    assert all(point.endswith(" updates") for point in found)
    return [int(point.removesuffix(" updates")) for point in found]


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (120, ["120 updates", "240 updates"]),
        ("100 updates", ["100 updates", "200 updates", "300 updates"]),
        ("1.5 epochs", ["1.5 epochs", "3 epochs"]),
        ("10k words", ["10000 words", "20000 words"]),
        ("40%", ["40%", "80%"]),
        ("1000 updates", []),
    ],
)
def test_every_gives_the_multiples_of_its_interval_up_to_the_end(interval: Any, expected: list[str]) -> None:
    assert points(RUN, type="every", interval=interval) == expected


def test_every_refuses_an_interval_of_nothing() -> None:
    with pytest.raises(ValidationError, match="expected an interval above 0"):
        points(RUN, type="every", interval="0 updates")


def test_every_refuses_more_points_than_anyone_can_mean() -> None:
    run = run_of(100_000_000)

    with pytest.raises(
        RecipeError, match=r"every 1 bytes is 4,000,000,000 checkpoints.*Lengthen the interval"
    ):
        points(run, type="every", interval="1 byte")


def test_no_rule_counts_in_documents() -> None:
    with pytest.raises(RecipeError, match=r"cannot be counted in documents. Use updates, tokens, words"):
        points(RUN, type="every", interval="3 documents")


def test_log2_gives_zero_and_the_powers_of_two() -> None:
    assert updates(RUN, type="log2") == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]


@pytest.mark.parametrize(
    ("until", "last"), [(64, 64), (63, 32), ("1 epoch", 64), ("50%", 128), ("3000 tokens", 16), (9999, 256)]
)
def test_log2_stops_at_its_limit_in_any_unit(until: Any, last: int) -> None:
    assert updates(RUN, type="log2", until=until)[-1] == last


def test_log2_of_a_run_of_one_update() -> None:
    assert updates(run_of(1), type="log2") == [0, 1]


def test_listed_points_keep_their_units_and_leave_out_what_the_run_never_reaches() -> None:
    at = [0, "300 updates", "301 updates", "30k tokens", "30001 tokens", "1.5 epochs", "50%"]

    assert points(RUN, type="list", at=at) == [
        "0 updates",
        "300 updates",
        "30000 tokens",
        "1.5 epochs",
        "50%",
    ]


def test_logspace_is_even_on_a_logarithmic_axis() -> None:
    assert updates(run_of(10_000), type="logspace", count=5) == [1, 10, 100, 1000, 10_000]


def test_logspace_counts_points_that_round_to_one_update_once() -> None:
    found = updates(run_of(8), type="logspace", count=100)

    assert found == [1, 2, 3, 4, 5, 6, 7, 8]


def test_logspace_has_nothing_where_its_first_point_is_beyond_its_last() -> None:
    assert updates(run_of(10), type="logspace", count=3, first=20) == []


def test_logspace_can_end_before_the_run() -> None:
    assert updates(RUN, type="logspace", count=3, until="1 epoch") == [1, 10, 100]


def test_per_epoch_spaces_its_points_evenly() -> None:
    assert points(RUN, type="per_epoch", count=2) == [
        "0.5 epochs",
        "1 epochs",
        "1.5 epochs",
        "2 epochs",
        "2.5 epochs",
        "3 epochs",
    ]


def test_epoch_boundaries_leave_out_an_unfinished_epoch() -> None:
    run = RunLength(250, BatchSchedule(100, 1), 25_000, 17_500, 100_000)

    assert points(run, type="epoch_boundary") == ["1 epochs", "2 epochs"]


def test_pythia_has_its_154_checkpoints() -> None:
    found = updates(run_of(143_000), type="pythia")

    assert found[:13] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000]
    assert found[-1] == 143_000
    assert len(found) == len(set(found)) == 154


def test_pythia_ends_with_a_shorter_run() -> None:
    assert updates(run_of(100), type="pythia") == [0, 1, 2, 4, 8, 16, 32, 64]


def test_mistral_follows_its_rule() -> None:
    found = updates(run_of(500_000), type="mistral")

    by_hand = [
        range(10, 101, 10),
        range(150, 2001, 50),
        range(2100, 20_001, 100),
        range(21_000, 400_001, 1000),
    ]
    assert found == [update for part in by_hand for update in part]


@pytest.mark.parametrize(("track", "count", "last"), [("strict", 28, 1000), ("strict-small", 19, 100)])
def test_babylm_counts_words_seen(track: str, count: int, last: int) -> None:
    found = points(run_of(1000, words=2 * 10**9), type="babylm", track=track)

    assert found[:3] == ["1000000 words", "2000000 words", "3000000 words"]
    assert found[9:11] == ["10000000 words", "20000000 words"]
    assert found[-1] == f"{last * 10**6} words"
    assert len(set(found)) == count


def test_babylm_ends_with_a_shorter_run() -> None:
    assert points(run_of(10, words=2_500_000), type="babylm") == ["1000000 words", "2000000 words"]


def test_rules_unite_to_a_classic_schedule() -> None:
    rules = [
        {"type": "log2", "until": "1 epoch"},
        {"type": "per_epoch", "count": 4, "from_epoch": 2},
        {"type": "epoch_boundary"},
    ]

    union = {point.removesuffix(" updates") for rule in rules[:1] for point in points(RUN, **rule)}
    by_epoch = {float(point.split()[0]) * 100 for rule in rules[1:] for point in points(RUN, **rule)}

    assert sorted({*map(float, union), *by_epoch}) == [
        0, 1, 2, 4, 8, 16, 32, 64, 100, 125, 150, 175, 200, 225, 250, 275, 300,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "section", [{"type": "log2"}, {"type": "pythia"}, {"type": "mistral"}, {"type": "babylm"}]
)
def test_a_rule_says_what_its_checkpoints_hold(section: dict[str, str]) -> None:
    rule = TypeAdapter(PartOf[Milestone]).validate_python({**section, "kind": "weights"})

    assert rule.kind == "weights"
    assert rule.model_dump()["type"] == section["type"]


def test_classic_gives_the_worked_example() -> None:
    found = points(RUN, type="classic", count=4)

    updates_ = {float(point.split()[0]) * (100 if point.endswith("epochs") else 1) for point in found}
    assert sorted(updates_) == [
        0, 1, 2, 4, 8, 16, 32, 64, 100, 125, 150, 175, 200, 225, 250, 275, 300,
    ]  # fmt: skip
    assert len(found) == 17


def test_classic_ends_with_a_run_within_its_first_epoch() -> None:
    run = RunLength(50, BatchSchedule(100, 1), 5_000, 3_500, 20_000)

    assert updates(run, type="classic") == [0, 1, 2, 4, 8, 16, 32]


def test_piecewise_changes_its_interval() -> None:
    pieces = [
        {"every": "10 updates", "until": "40 updates"},
        {"every": "50 updates", "until": "140 updates"},
        {"every": 100},
    ]

    assert updates(RUN, type="piecewise", pieces=pieces) == [10, 20, 30, 40, 90, 140, 240]


def test_piecewise_says_the_rule_of_mistral() -> None:
    pieces = [
        {"every": 10, "until": 100},
        {"every": 50, "until": 2_000},
        {"every": 100, "until": "20k updates"},
        {"every": 1_000, "until": "400k updates"},
    ]
    run = run_of(500_000)

    assert updates(run, type="piecewise", pieces=pieces) == updates(run, type="mistral")


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([{"every": 10, "until": "1 epoch"}], "expected one unit for all pieces"),
        ([{"every": 10}, {"every": 20}], "expected until in all pieces but the last"),
        (
            [{"every": 10, "until": 50}, {"every": 20, "until": 50}],
            "expected each piece to end after the one before it",
        ),
    ],
)
def test_piecewise_refuses_what_has_no_order(pieces: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        points(RUN, type="piecewise", pieces=pieces)


def test_piecewise_refuses_more_points_than_anyone_can_mean() -> None:
    with pytest.raises(
        RecipeError, match=r"every 1 bytes is 4,000,000,000 checkpoints.*Lengthen the interval"
    ):
        points(run_of(100_000_000), type="piecewise", pieces=[{"every": "1 byte"}])
