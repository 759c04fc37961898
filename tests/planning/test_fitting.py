"""The micro-batch that fits: what is chosen under a limit, and that nothing but its size changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from model_foundry.config.load import load_recipe
from model_foundry.errors import RecipeError
from model_foundry.model import Vocabulary
from model_foundry.objective import Tokens
from model_foundry.planning import fitting
from model_foundry.planning.base import HOLES
from model_foundry.planning.memory import Shape, trace
from tests.lab import RECIPE, Lab

WORDS = Vocabulary(300, eos_id=0)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return load_recipe(tmp_path / "recipe.yaml")


def shape(windows: int) -> Shape:
    return Shape(WORDS, Tokens(300, frozenset({0}), None), windows, rounds=2)


def needed(config: Any, windows: int) -> int:
    traced = trace(config, shape(windows), evaluates=False)
    return max(traced.most_bytes(), round(HOLES * traced.heap_bytes))


@pytest.mark.parametrize("fits", [4, 1])
def test_the_largest_half_that_fits_is_taken(config: Any, fits: int) -> None:
    model = config.model.build(WORDS, 16)
    weights = sum(weight.nbytes for weight in model.parameters())
    taken = 10**6
    room = taken - weights + needed(config, fits)

    assert fitting._largest(config, model, shape(8), room, taken).micro_batch_size == fits
    less = fitting._largest(config, model, shape(8), room - 1, taken)
    assert less.micro_batch_size == max(1, fits // 2)
    assert less.because.startswith("even one window needs") == (fits == 1)


@pytest.mark.parametrize("context", [16, 64])
def test_what_surely_suffices_is_more_than_what_is_needed(config: Any, context: int) -> None:
    config = config.model_copy(update={"data": config.data.model_copy(update={"context": context})})
    model = config.model.build(WORDS, context)

    for windows in (1, 8):
        assert fitting.surely(model, windows, context) > needed(config, windows)


def test_a_model_that_cannot_be_followed_keeps_the_planned_size(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    sizes = "layers: 1, width: 16, heads: 2, feed_forward: 16, experts: 4, experts_per_token: 2"
    experts = f"model={{type: olmoe, {sizes}}}"
    config = load_recipe(tmp_path / "recipe.yaml", [experts, "training.precision=bf16"])

    found = fitting._largest(config, config.model.build(WORDS, 16), shape(8), room=1, taken=0)

    assert found.micro_batch_size == 8
    assert "cannot be followed" in found.because


def test_a_limit_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fitting.LIMIT, "much")

    with pytest.raises(RecipeError) as error:
        fitting._room(torch.device("cpu"))

    assert str(error.value) == (
        "MODEL_FOUNDRY_MEMORY is 'much'; expected the memory that a process may take, such as 4GB. Mend it, "
        "or unset it: what is free is taken then."
    )


def test_what_is_free_is_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_free", lambda: 1000)
    monkeypatch.setattr(fitting, "_resident", lambda: 50)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")

    assert fitting._room(torch.device("cpu")) == (500, 50)


def test_a_limit_changes_micro_batches_and_no_numbers_and_a_resume_keeps_them(lab: Lab) -> None:
    dry = "model.dropout=0.0"
    plain = lab.run("--run-dir=plain", dry)
    lab.environment[fitting.LIMIT] = "1MB"  # less than Python takes: one window
    output = lab.run("--run-dir=small", dry, processes=1)
    lab.kill_at(14, "killed", dry)
    lab.environment[fitting.LIMIT] = "100GB"
    lab.run("--run-dir=killed", "--resume-from=latest", dry)

    plans = {
        run: json.loads((lab.folder / run / "plan.json").read_text()) for run in ("plain", "small", "killed")
    }
    assert {run: plan["micro_batch_size"] for run, plan in plans.items()} == {
        "plain": 8,
        "small": 1,
        "killed": 1,
    }
    assert [plans["small"]["rounds_per_update"], plans["plain"]["rounds_per_update"]] == [8, 1]
    assert plans["killed"]["micro_batch_size_because"] == "as before the resume"
    assert "micro-batch of 1, not 8 (even one window needs" in output
    assert "micro-batch of" not in plain
    losses = [[line["loss"] for line in lab.metrics(run) if "loss" in line] for run in ("plain", "small")]
    assert losses[1] == pytest.approx(losses[0], abs=2e-5)
    assert lab.weights("killed") == lab.weights("small")
