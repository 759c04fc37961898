"""Lengths of runs whose batch grows, beside a walk through all updates."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

from model_foundry.batch_schedule import BatchRamp
from model_foundry.config.load import load_recipe
from model_foundry.config.plan import CorpusFacts, ModelFacts, RunPlan, plan_run
from model_foundry.errors import RecipeError
from model_foundry.milestone._spans import updates_in
from model_foundry.units import Duration

CONTEXT, WINDOWS = 16, 237
CORPUS = CorpusFacts(
    windows=WINDOWS, targets=WINDOWS * CONTEXT, words=WINDOWS * 8, bytes=WINDOWS * 64, documents=9
)
MODEL = ModelFacts(parameters=1, embedding_parameters=1, flops_per_token=6)
BASE = Path(__file__).parent / "base.yaml"


def plan(*settings: str) -> RunPlan:
    config = load_recipe(BASE, [f"data.context={CONTEXT}", "training.batch_size=12", *settings])
    return plan_run(config, CORPUS, MODEL, 1)


def walk(ramp: BatchRamp, updates: int, batch_size: int = 12) -> list[int]:
    """The windows shown after 0, 1, 2, ... updates."""
    shown, inside = [0], 0
    for update in range(updates):
        share = min(Fraction(1), Fraction(update, ramp.updates))
        if ramp.steps is not None:
            share = Fraction(int(share * ramp.steps), ramp.steps)
        size = int(ramp.start + share * (batch_size - ramp.start) + Fraction(1, 2))
        now = min(size, WINDOWS - inside)
        inside = (inside + now) % WINDOWS
        shown.append(shown[-1] + now)
    return shown


@pytest.mark.parametrize("seed", range(12))
def test_a_run_of_so_many_tokens_ends_at_the_first_update_at_or_past_them(seed):
    draw = random.Random(seed)
    tokens = draw.randint(2000, 30_000)
    updates, steps = draw.randint(1, 40), draw.choice(["null", "1", "4"])
    warmup = f"{{from: {draw.randint(1, 11)}, over: {updates} updates, steps: {steps}}}"

    made = plan(f"training.batch_warmup={warmup}", f"training.duration={tokens} tokens")

    shown = walk(made.batch_warmup, 2000)
    assert made.updates == next(update for update, windows in enumerate(shown) if windows * CONTEXT >= tokens)
    assert made.tokens == shown[made.updates] * CONTEXT
    for words in (1, 777, 2500, 5000):
        due = next(update for update, windows in enumerate(shown) if windows * 8 >= words)
        assert made.updates_of(Duration(Fraction(words), "words")) == due
    assert updates_in(made.length, Duration(Fraction(made.tokens), "tokens")) == made.updates


@pytest.mark.parametrize("share", [1, 10, 37, 50, 100])
@pytest.mark.parametrize("start", ["1", "25%", "11"])
def test_a_share_of_the_run_is_one_of_the_run_that_the_ramp_itself_lengthens(share, start):
    made = plan(f"training.batch_warmup={{from: {start}, over: {share}%}}", "training.duration=7 epochs")

    assert made.batch_warmup.updates == round(Fraction(share, 100) * made.updates)
    assert walk(made.batch_warmup, made.updates)[-1] == 7 * WINDOWS
    assert made.updates > plan("training.duration=7 epochs").updates or share == 1


@pytest.mark.parametrize("over", ["5000 tokens", "3000 words", "1.5 epochs", "40000 bytes"])
def test_a_ramp_over_an_amount_of_text_ends_where_that_much_was_shown(over):
    made = plan(f"training.batch_warmup={{from: 25%, over: {over}}}", "training.duration=4 epochs")

    shown = walk(made.batch_warmup, made.updates)
    amount, unit = over.split()
    windows = float(amount) * {"tokens": 1 / 16, "words": 1 / 8, "epochs": WINDOWS, "bytes": 1 / 64}[unit]
    end = made.batch_warmup.updates
    if unit == "epochs":
        assert made.batches.epochs(end) >= Fraction(amount) > made.batches.epochs(end - 1)
    else:
        assert shown[end] >= windows > shown[end - 1]


@pytest.mark.parametrize(("start", "unit"), [(10, "tokens"), (25, "words"), (70, "tokens"), (10, "epochs")])
def test_a_length_that_begins_in_the_ramp_is_counted_from_there(start, unit):
    made = plan("training.batch_warmup={from: 2, over: 90 updates}", "training.duration=20 epochs")
    shown = walk(made.batch_warmup, made.updates)
    amount = {"tokens": 3000, "words": 1000, "epochs": 1}[unit]
    if unit == "epochs":
        end = next(n for n in range(start, 999) if made.batches.epochs(n) >= made.batches.epochs(start) + 1)
    else:
        windows = shown[start] + amount / {"tokens": 16, "words": 8}[unit]
        end = next(n for n in range(start, 999) if shown[n] >= windows)

    assert made.length_from(start, Duration(Fraction(amount), unit)) == end - start


def test_a_ramp_that_outlasts_the_run_is_refused_but_in_a_branch():
    over = "training.batch_warmup={from: 2, over: 20000 tokens}"
    message = "training.batch_warmup.over: 20000 tokens is 184 updates, and the run has 100, so training"

    with pytest.raises(RecipeError, match=message):
        plan(over, "training.duration=100 updates")

    branch = "schedule={type: cooldown, start: 90 updates}"
    assert plan(over, branch, "training.duration=100 updates").batch_warmup == BatchRamp(2, 184)
    shown = walk(BatchRamp(2, 184), 184)
    assert shown[184] * CONTEXT >= 20_000 > shown[183] * CONTEXT


def test_a_ramp_of_less_than_an_update_is_refused():
    with pytest.raises(
        RecipeError, match=r"training.batch_warmup.over: 1% is less than one update. Lengthen"
    ):
        plan("training.batch_warmup={from: 2, over: 1%}", "training.duration=20 updates")


def test_the_plan_has_the_ramp_and_the_first_epoch_has_more_updates():
    made = plan("training.batch_warmup={from: 25%, over: 50%, steps: 3}", "training.duration=60 updates")

    assert made.as_json()["batch_warmup"] == {"start": 3, "updates": 30, "steps": 3}
    assert (made.updates_per_epoch, made.batches.first_update(1)) == (20, 35)
    assert updates_in(made.length, Duration(Fraction(1), "epochs")) == 35
    assert made.length.epochs == made.batches.epochs(60)
