"""Learning rates against transformers' schedulers, against a published table, and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from model_foundry.errors import RecipeError
from model_foundry.parts import PartOf
from model_foundry.schedule import Curve, Schedule
from model_foundry.units import Duration

TABLE = {  # warm-up 10, total 100: (linear, cosine, cosine to 0.1), as transformers 5.23 gives them
    0: (0.0, 0.0, 0.0),
    1: (0.1, 0.1, 0.1),
    5: (0.5, 0.5, 0.5),
    10: (1.0, 1.0, 1.0),
    11: (0.98888889, 0.99969541, 0.99972587),
    50: (0.55555556, 0.58682409, 0.62814168),
    55: (0.5, 0.5, 0.55),
    80: (0.22222222, 0.11697778, 0.20528),
    90: (0.11111111, 0.03015369, 0.12713832),
    99: (0.01111111, 0.00030459, 0.10027413),
    100: (0.0, 0.0, 0.1),
}
COLUMNS: list[dict[str, Any]] = [
    {"type": "linear"},
    {"type": "cosine"},
    {"type": "cosine", "floor": "10%"},
]


def curve(total: int, **section: Any) -> Curve:
    schedule: Schedule = TypeAdapter(PartOf[Schedule]).validate_python(section)

    def updates_of(length: Duration) -> int:
        return round(length.amount * total / 100) if length.unit == "%" else int(length.amount)

    return schedule.curve(total, updates_of)


@pytest.mark.parametrize("column", range(3))
def test_values_are_those_of_the_published_table(column: int) -> None:
    scale = curve(100, warmup=10, warmup_offset=0, **COLUMNS[column])

    for update, row in TABLE.items():
        assert scale(update) == pytest.approx(row[column], abs=1e-8)


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant_with_warmup"])
def test_values_are_those_of_transformers_at_every_update(kind: str) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = get_scheduler(kind, optimizer, num_warmup_steps=7, num_training_steps=50)
    scale = curve(50, type=kind.partition("_")[0], warmup=7, warmup_offset=0)

    for update in range(50):
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
