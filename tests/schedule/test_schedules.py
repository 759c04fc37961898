"""Learning rates against transformers' schedulers, against a published table, and by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model_foundry.errors import RecipeError
from model_foundry.parts import PartOf
from model_foundry.schedule import Curve, Schedule
from model_foundry.units import Duration

# Warm-up 10, total 100, as transformers 5.23 gives them: linear, cosine, cosine to 0.1, inverse square root,
# the last 20 updates along 1-sqrt, linear and a cosine to 0.1, and a polynomial of power 2 to 0.1.
TABLE = {
    0: (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0),
    1: (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, None, 0.1),
    5: (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, None, 0.5),
    10: (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    11: (0.98888889, 0.99969541, 0.99972587, 0.95346259, 1.0, 1.0, 1.0, 0.98011111),
    50: (0.55555556, 0.58682409, 0.62814168, 0.4472136, 1.0, 1.0, 1.0, 0.37777778),
    55: (0.5, 0.5, 0.55, 0.42640143, 1.0, 1.0, 1.0, 0.325),
    80: (0.22222222, 0.11697778, 0.20528, 0.35355339, 1.0, 1.0, 1.0, 0.14444444),
    90: (0.11111111, 0.03015369, 0.12713832, 0.33333333, 0.29289322, 0.5, 0.55, 0.11111111),
    99: (0.01111111, 0.00030459, 0.10027413, 0.31782086, 0.02532057, 0.05, 0.10554025, 0.10011111),
    100: (0.0, 0.0, 0.1, 0.31622777, 0.0, 0.0, 0.1, 0.1),
}
# None: in the warm-up of a WSD schedule with a least rate transformers rises from that rate and not from 0,
# unlike its other schedulers (0.1, 0.19, 0.55 at updates 0, 1, 5); ours rises from 0 as everywhere.
COLUMNS: list[dict[str, Any]] = [
    {"type": "linear"},
    {"type": "cosine"},
    {"type": "cosine", "floor": "10%"},
    {"type": "inverse_sqrt"},
    {"type": "wsd", "decay": "20%", "shape": "1-sqrt"},
    {"type": "wsd", "decay": "20 updates"},
    {"type": "wsd", "decay": "20%", "shape": "cosine", "floor": "10%"},
    {"type": "polynomial", "power": 2.0, "floor": "10%"},
]
ALL: list[dict[str, Any]] = [
    *(column for column in COLUMNS if "updates" not in str(column)),
    {"type": "constant"},
    {"type": "wsd", "decay": "50%", "shape": "exponential", "floor": "1%"},
    {"type": "cosine", "floor": "10%", "cooldown": "20%"},
    {"type": "cosine", "length": "8000 updates", "cooldown": "10%"},
    {"type": "piecewise", "points": [{"at": "40%", "share": 0.3}, {"at": "90%", "share": 1.0}]},
]


def curve(total: int, **section: Any) -> Curve:
    schedule: Schedule = TypeAdapter(PartOf[Schedule]).validate_python(section)

    def updates_of(length: Duration) -> int:
        return round(length.amount * total / 100) if length.unit == "%" else int(length.amount)

    return schedule.curve(total, updates_of)


@pytest.mark.parametrize("column", range(8))
def test_values_are_those_of_the_published_table(column: int) -> None:
    scale = curve(100, warmup=10, warmup_offset=0, **COLUMNS[column])

    for update, row in TABLE.items():
        if row[column] is not None:
            assert scale(update) == pytest.approx(row[column], abs=1e-8)


@pytest.mark.parametrize(
    ("kind", "options", "section"),
    [
        ("linear", {}, {"type": "linear"}),
        ("cosine", {}, {"type": "cosine"}),
        ("constant_with_warmup", {}, {"type": "constant"}),
        ("cosine_with_min_lr", {"min_lr_rate": 0.1}, {"type": "cosine", "floor": 0.1}),
        ("inverse_sqrt", {}, {"type": "inverse_sqrt"}),
        ("inverse_sqrt", {"timescale": 20}, {"type": "inverse_sqrt", "timescale": 20}),
        ("polynomial", {"lr_end": 0.1, "power": 3.0}, {"type": "polynomial", "power": 3.0, "floor": 0.1}),
        ("warmup_stable_decay", {"num_decay_steps": 9, "decay_type": "linear"}, {"type": "wsd", "decay": 9}),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 9, "decay_type": "1-sqrt"},
            {"type": "wsd", "decay": 9, "shape": "1-sqrt"},
        ),
        (
            "warmup_stable_decay",
            {"num_decay_steps": 9, "decay_type": "cosine", "min_lr_ratio": 0.2},
            {"type": "wsd", "decay": 9, "shape": "cosine", "floor": 0.2},
        ),
    ],
)
def test_values_are_those_of_transformers_at_every_update(
    kind: str, options: dict[str, Any], section: dict[str, Any]
) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = get_scheduler(
        kind, optimizer, num_warmup_steps=7, num_training_steps=50, scheduler_specific_kwargs=options
    )
    scale = curve(50, warmup=7, warmup_offset=0, **section)
    rises_from_its_least = "min_lr_ratio" in options

    for update in range(50):
        if not rises_from_its_least or update >= 7:
            assert scale(update) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_the_first_update_moves_and_the_peak_is_met_at_the_end_of_the_warm_up() -> None:
    scale = curve(12, type="linear", warmup=4)

    assert [scale(update) for update in range(13)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]
    )


def test_a_cosine_with_a_floor_by_hand() -> None:
    scale = curve(10, type="cosine", warmup=2, floor=0.2)

    assert scale(0) == 0.5
    assert scale(2) == 1
    assert scale(4) == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)
    assert scale(6) == pytest.approx(0.6)
    assert scale(10) == pytest.approx(0.2)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("total", [1, 7, 10_000])
def test_a_fall_ends_at_the_floor_and_never_goes_below(kind: str, total: int) -> None:
    scale = curve(total, type=kind, floor=0.1)

    values = [scale(update) for update in range(total + 1)]

    assert values[0] == 1
    assert values[-1] == pytest.approx(0.1)
    assert values == sorted(values, reverse=True)
    assert scale(total + 5) == pytest.approx(0.1)


def test_a_constant_stays_at_the_peak() -> None:
    scale = curve(6, type="constant", warmup=2)

    assert [scale(update) for update in range(7)] == [0.5, 1, 1, 1, 1, 1, 1]


def test_a_warm_up_may_fill_the_run() -> None:
    scale = curve(4, type="cosine", warmup=4)

    assert [scale(update) for update in range(4)] == [0.25, 0.5, 0.75, 1]


def test_a_warm_up_may_be_a_share_of_the_run() -> None:
    assert curve(200, type="cosine", warmup="2%")(1) == 0.5


def test_the_rise_and_peak_of_nanogpt_need_one_more_update_of_warm_up() -> None:
    warmup = 5
    scale = curve(50, type="cosine", warmup=warmup + 1)

    nanogpt = [(update + 1) / (warmup + 1) for update in range(warmup)] + [1.0]

    assert [scale(update) for update in range(warmup + 1)] == pytest.approx(nanogpt)


def test_a_warm_up_longer_than_the_run_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        RecipeError, match=r"schedule\.warmup: 60 updates .* run of 50 updates.*share of the run"
    ):
        curve(50, type="linear", warmup=60)


def test_a_constant_has_no_floor() -> None:
    with pytest.raises(ValidationError, match="a constant schedule never falls: leave floor out"):
        curve(50, type="constant", floor=0.1)


def test_a_constant_reads_back_what_it_wrote() -> None:
    reader = TypeAdapter(PartOf[Schedule])
    schedule = reader.validate_python({"type": "constant", "warmup": "3 epochs"})

    assert reader.validate_python(schedule.model_dump(mode="json")) == schedule


@pytest.mark.parametrize("section", ALL, ids=lambda section: "-".join(map(str, section.values()))[:40])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("total", [40, 4000])
def test_every_schedule_is_continuous_and_between_0_and_the_peak(
    section: dict[str, Any], offset: int, total: int
) -> None:
    scale = curve(total, warmup="10%", warmup_offset=offset, **section)

    values = [scale(update) for update in range(total + 1)]

    assert all(0 <= value <= 1 for value in values)
    assert max(values) == 1
    # The steepest are the root at its end and the exponential at its beginning.
    steps = [abs(later - earlier) for earlier, later in itertools.pairwise(values)]
    assert max(steps) < 12 / total if section.get("shape") != "1-sqrt" else max(steps) < 3 / total**0.5
    assert all(0 <= scale(total + more) <= 1 for more in (1, total))


def test_gpt_berts_cosine_ends_in_a_straight_line_to_0() -> None:
    total = 15_625  # 1.6 % are 250 updates
    scale = curve(total, type="cosine", warmup="1.6%", warmup_offset=0, floor="10%", cooldown="1.6%")

    assert scale(125) == 0.5
    assert scale(250) == 1
    assert scale((250 + 15_375) // 2) == pytest.approx(0.55, abs=1e-4)
    assert scale(15_375) == pytest.approx(0.1)
    assert scale(15_500) == pytest.approx(0.05)
    assert scale(15_625) == 0


def test_olmo2s_cosine_is_that_of_a_longer_run() -> None:
    tokens = 512 * 4096

    def updates_of(length: Duration) -> int:
        return math.ceil(length.amount / tokens)

    section = {"type": "cosine", "warmup": "8388608000 tokens", "floor": "10%", "length": "5T tokens"}
    schedule: Schedule = TypeAdapter(PartOf[Schedule]).validate_python(section)
    total = updates_of(Duration.parse("4T tokens"))
    scale = schedule.curve(total, updates_of)

    warmup, whole = 4000, updates_of(Duration.parse("5T tokens"))
    by_hand = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (total - warmup) / (whole - warmup)))
    assert 4e-4 * scale(warmup) == 4e-4
    assert scale(total) == pytest.approx(by_hand, rel=1e-12)
    assert 4e-4 * scale(total) == pytest.approx(7.43e-5, rel=1e-2)


@pytest.mark.parametrize(
    ("section", "peak", "total", "expected"),
    [  # update -> learning rate, from the published settings (reference recipes), by arithmetic
        (
            {"type": "cosine", "warmup": 1430, "floor": "10%", "warmup_offset": 0},  # Pythia-160M
            6e-4,
            143_000,
            {715: 3e-4, 1430: 6e-4, 72_215: 3.3e-4, 143_000: 6e-5},
        ),
        (
            {"type": "wsd", "warmup": 2000, "decay": "20%", "warmup_offset": 0},  # SmolLM2-135M
            3e-3,
            2_000_000,
            {1000: 1.5e-3, 2000: 3e-3, 1_600_000: 3e-3, 1_800_000: 1.5e-3, 2_000_000: 0},
        ),
        (
            # SmolLM-135M
            {"type": "wsd", "warmup": 5000, "decay": 100_000, "shape": "1-sqrt", "warmup_offset": 0},
            3e-3,
            600_000,
            {500_000: 3e-3, 525_000: 1.5e-3, 564_000: 3e-3 * 0.2, 600_000: 0},
        ),
        (
            {"type": "linear", "warmup": 10_000, "warmup_offset": 0},  # BERT base
            1e-4,
            1_000_000,
            {5000: 5e-5, 10_000: 1e-4, 505_000: 5e-5, 1_000_000: 0},
        ),
        (
            {"type": "cosine", "warmup": "1.6%", "floor": "10%", "warmup_offset": 0},  # LTG-BERT
            1e-2,
            15_625,
            {125: 5e-3, 250: 1e-2, 15_625: 1e-3},
        ),
    ],
)
def test_published_settings_have_their_learning_rates(
    section: dict[str, Any], peak: float, total: int, expected: dict[int, float]
) -> None:
    scale = curve(total, **section)

    assert {update: peak * scale(update) for update in expected} == pytest.approx(expected, abs=1e-12)


def test_an_exponential_fall_halves_in_equal_times() -> None:
    scale = curve(100, type="wsd", decay=80, shape="exponential", floor=1 / 16)

    assert [scale(update) for update in (20, 40, 60, 80, 100)] == pytest.approx(
        [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    )


def test_steps_hold_and_lines_join() -> None:
    points = [{"at": 4, "share": 0.5}, {"at": 8, "share": 0.1}]
    lines = curve(10, type="piecewise", points=points)
    steps = curve(10, type="piecewise", points=points, between="step")

    assert [lines(update) for update in (0, 2, 4, 6, 8, 9)] == pytest.approx([1, 0.75, 0.5, 0.3, 0.1, 0.1])
    assert [steps(update) for update in (0, 3, 4, 7, 8, 9)] == [1, 1, 0.5, 0.5, 0.1, 0.1]


def test_a_cool_down_falls_from_the_rate_of_its_trunk_as_wsd_does() -> None:
    trunk = curve(100, type="wsd", decay=30, shape="1-sqrt", floor=0.2)
    branch = curve(100, type="cooldown", start=70, shape="1-sqrt", floor=0.2)
    lower = curve(100, type="cooldown", start=70, share=0.4)

    assert [branch(update) for update in range(70, 101)] == [trunk(update) for update in range(70, 101)]
    assert [lower(update) for update in (70, 85, 100)] == pytest.approx([0.4, 0.2, 0])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"type": "wsd", "warmup": 20, "decay": 40},
            r"schedule\.decay: 40 updates of decay and 20 of warm-up do",
        ),
        (
            {"type": "cosine", "warmup": 20, "cooldown": 40},
            r"schedule\.cooldown: 40 updates of cooldown and 20",
        ),
        ({"type": "cosine", "length": 40}, r"schedule\.length: 40 updates, and the run alone has 50"),
        ({"type": "inverse_sqrt"}, r"schedule\.timescale: there is none, and no warm-up to take it from"),
        (
            {"type": "piecewise", "warmup": 9, "points": [{"at": 9, "share": 1}]},
            r"schedule\.points: the warm-up ends and the points lie at updates 9, 9 of 50, expected each",
        ),
        ({"type": "piecewise", "points": [{"at": 60, "share": 1}]}, r"updates 0, 60 of 50"),
        ({"type": "cooldown", "start": 50}, r"schedule\.start: it is update 50, and the run has 50"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        curve(50, **section)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "wsd", "shape": "exponential"}, "never reaches 0: give a floor above it, such as 1%"),
        ({"type": "cooldown", "start": 5, "shape": "exponential"}, "never reaches 0: give a floor"),
        (
            {"type": "piecewise", "points": [{"at": 9, "share": 1}], "floor": 0.1},
            "has no floor: leave it out",
        ),
        ({"type": "piecewise", "points": []}, "at least 1 item"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        curve(50, **section)
