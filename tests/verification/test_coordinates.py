"""The coordinate check: flat under muP, growing without, on small models trained for a few updates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.load import load_recipe_with_sources
from model_foundry.errors import RecipeError
from model_foundry.model.scaling.mup import MuP
from model_foundry.objective import IGNORED, Batch, LossSum
from model_foundry.objective.masked_lm import MaskedLM
from model_foundry.running.building import prepare_data
from model_foundry.verification.coordinates import (
    PLACES,
    STEEPEST,
    CoordinateCheck,
    Trial,
    check_coordinates,
)
from tests.texts import write_texts

RECIPE = """\
corpus:
  sources: [{type: text_files, path: "texts/*.txt"}]
  validation: {fraction: 10%}
tokenizer: {type: byte}
data: {context: 32}
model: {type: gpt2, layers: 2, width: 32, heads: 2}
optimizer: {type: adamw, learning_rate: 4e-3}
training: {duration: 20 updates, batch_size: 8, micro_batch_size: 4}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coordinates")
    write_texts(folder / "texts", documents=12, words=60)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def checked(folder: Path, *overrides: str, widths: list[int], updates: int) -> CoordinateCheck:
    config = load_recipe_with_sources(folder / "recipe.yaml", list(overrides)).config
    data = prepare_data(config, [folder], lambda text: None)
    return check_coordinates(config, data, [folder], widths=widths, updates=updates)


LLAMA = "model={type: llama, layers: 2, width: 32, heads: 2, feed_forward: 96}"


MASKED = (
    "model={type: bert, layers: 2, width: 32, heads: 2}",
    "objective={type: masked_lm}",
    "evaluation=[]",
)


@pytest.mark.parametrize("overrides", [(), (LLAMA,)], ids=["gpt2-tied", "llama-untied"])
def test_activations_are_flat_in_the_width_under_mup_and_grow_without(
    folder: Path, overrides: tuple[str, ...]
):
    check = checked(folder, *overrides, widths=[32, 64, 128], updates=6)

    plain, scaled = check.slopes("standard"), check.slopes("mup")
    assert plain["attention"] > 0.8
    assert plain["feed_forward"] > 0.8
    assert plain["logits"] > 0.4
    assert not check.is_flat("standard")
    for place in ("embedding", "attention", "feed_forward"):
        assert abs(scaled[place]) <= STEEPEST, place
    assert -0.5 - STEEPEST <= scaled["logits"] <= STEEPEST
    assert check.is_flat("mup")


def test_a_masked_model_is_trained_on_masked_rows(folder: Path, monkeypatch: pytest.MonkeyPatch):
    hidden: list[float] = []
    loss = MaskedLM.loss

    def noted(self: MaskedLM, model: nn.Module, batch: Batch) -> LossSum:
        hidden.append((batch["targets_BT"] != IGNORED).float().mean().item())
        return loss(self, model, batch)

    monkeypatch.setattr(MaskedLM, "loss", noted)

    check = checked(folder, *MASKED, widths=[32, 64], updates=3)

    assert all(0.05 < share < 0.5 for share in hidden)
    assert len(hidden) == 2 * 2 * 3 * 2  # parametrizations, widths, updates, micro-batches
    assert check.slopes("mup")["logits"] < check.slopes("standard")["logits"]


def test_equal_widths_are_equal_models_at_the_base_width(folder: Path):
    check = checked(folder, widths=[32, 64], updates=2)

    plain, scaled = (
        next(t for t in check.trials if t.parametrization == name) for name in ("standard", "mup")
    )
    assert plain.width == scaled.width == 32
    assert plain.rms == scaled.rms
    assert all(len(values) == 3 for values in plain.rms.values())


def test_the_slope_is_that_of_the_logarithms():
    trials = [
        Trial("mup", width, {place: [9.0, width**0.5, 3 * width**0.5] for place in PLACES})
        for width in (8, 16, 64)
    ]
    check = CoordinateCheck(trials)

    assert check.slopes("mup") == pytest.approx(dict.fromkeys(PLACES, 0.5))
    assert not check.is_flat("mup")


@pytest.mark.parametrize(("place", "slope", "is_flat"), [
    ("attention", 0.29, True), ("attention", 0.31, False), ("attention", -0.31, False),
    ("logits", -0.79, True), ("logits", -0.81, False), ("logits", 0.31, False),
])  # fmt: skip
def test_what_counts_as_flat(place: str, slope: float, is_flat: bool):
    trials = [
        Trial("mup", width, {name: [1.0, width ** (slope if name == place else 0.0)] for name in PLACES})
        for width in (8, 64)
    ]

    assert CoordinateCheck(trials).is_flat("mup") is is_flat


def test_the_command_prints_a_verdict_for_each_parametrization(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    command = ["coordinate-check", "recipe.yaml", "--widths", "32,64", "--updates", "3"]

    text = CliRunner().invoke(app, command)
    done = CliRunner().invoke(app, [*command, "--json"])

    assert text.exit_code == 0, text.output
    assert "mup: RMS of feed-forward, slope" in text.output
    assert text.output.endswith("standard: follows the width\nmup: flat in the width\n")
    answer = json.loads(done.output)
    assert answer["is_flat"] == {"standard": False, "mup": True}
    assert [trial["width"] for trial in answer["trials"]] == [32, 64, 32, 64]
    assert len(answer["trials"][0]["rms"]["logits"]) == 4
    assert sorted(path.name for path in folder.iterdir()) == ["recipe.yaml", "texts"]


def test_a_parametrization_that_does_not_hold_what_it_promises_ends_in_status_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(MuP, "factors", lambda self, model: {})

    done = CliRunner().invoke(app, ["coordinate-check", "recipe.yaml", "--widths", "32,64", "--updates", "3"])

    assert done.exit_code == 1
    assert done.output.endswith("standard: follows the width\nmup: follows the width\n")


@pytest.mark.parametrize("widths", ["64", "128,64", "64,64", "64,wide", "0,64", ""])
def test_widths_that_are_no_rising_list_are_refused(widths: str):
    done = CliRunner().invoke(app, ["coordinate-check", "demo", "--widths", widths])

    assert isinstance(done.exception, RecipeError)
    assert "expected two or more widths in rising order, such as 64,128,256." in str(done.exception)


def test_more_updates_than_the_recipe_has_are_refused(folder: Path):
    with pytest.raises(RecipeError, match=r"--updates: 30, and the recipe trains only 20\. Give fewer"):
        checked(folder, widths=[32, 64], updates=30)


def test_an_initialisation_that_follows_the_width_is_refused(folder: Path):
    with pytest.raises(RecipeError, match=r"small_init, which follows the width by itself"):
        checked(folder, "initialization={type: small_init}", widths=[32, 64], updates=1)
