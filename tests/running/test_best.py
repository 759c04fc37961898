"""The best checkpoint by a measure: named, kept, found again after a stop, and usable by its name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from model_foundry import load_run
from model_foundry.cli import app
from model_foundry.config.load import load_recipe
from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.running.best import BestCheckpoint, best_by
from model_foundry.running.choosing import choose_model
from model_foundry.running.targets import find_targets
from model_foundry.training.best import best_of, is_better, read_best
from tests.lab import RECIPE

RISING = RECIPE.replace(
    "rolling: 5 updates", "rolling: 4 updates, keep_resumable: 1, best: {by: perplexity/loss}"
)
RISING = RISING.replace("every: 6 updates", "every: 3 updates").replace("floor: 10%", "floor: 100%")
RISING = RISING.replace("learning_rate: 3e-3", "learning_rate: 0.3, weight_decay: 0")
"""Learns for some updates and is worse from then on."""


def losses(run: Path) -> dict[int, float]:
    frame = load_run(run).evaluations.query("measure == 'loss' and level == 'all'")
    return dict(zip(frame["update"], frame["value"], strict=True))


def names(run: Path) -> set[str]:
    return {path.name for path in (run / "checkpoints").glob("checkpoint-*")}


def fake(update: int, best: object = None) -> object:
    return SimpleNamespace(updates=update, record={"best": best})


@pytest.fixture
def config(lab):
    (lab.folder / "recipe.yaml").write_text(RISING)
    return load_recipe(lab.folder / "recipe.yaml")


def test_the_best_is_saved_named_and_kept_while_others_go(lab):
    (lab.folder / "recipe.yaml").write_text(RISING)

    output = lab.run()

    run = lab.folder / "runs" / "tiny"
    measured = losses(run)
    update = min(measured, key=lambda update: measured[update])
    assert update not in (0, 24), measured  # else it shows nothing
    best = read_best(run / "checkpoints")
    assert (best.update, best.value) == (update, measured[update])
    assert {f"checkpoint-{number}" for number in (0, update, 24)} <= names(run)
    assert len(names(run)) <= 4
    assert f"best by perplexity/loss: checkpoint-{update} ({measured[update]:.4f})" in output
    assert choose_model(run, "best").name == best.checkpoint
    assert [found.path.name for found in find_targets(run, "best", with_untrained=False).chosen] == [
        best.checkpoint
    ]
    frames = load_run(run)
    assert frames.best == best.as_json()
    assert list(frames.checkpoints.query("best").name) == [best.checkpoint]
    assert f"checkpoint-{update} ({measured[update]:.4f})" in (run / "report.html").read_text()
    runner = CliRunner()
    said = runner.invoke(app, ["generate", str(run), "The", "--checkpoint", "best", "--tokens", "3"])
    assert said.stdout.startswith("The")
    listed = json.loads(runner.invoke(app, ["checkpoints", "list", str(run), "--json"]).stdout)
    assert [row["name"] for row in listed["checkpoints"] if row["best"]] == [best.checkpoint]
    evaluated = runner.invoke(
        app, ["evaluate", str(run), "--suite", "perplexity", "--checkpoints", "best", "--json"]
    )
    assert (
        json.loads(evaluated.stdout)["computed"] + json.loads(evaluated.stdout)["cached"] == 2
    )  # and the untrained
    pruned = runner.invoke(app, ["checkpoints", "prune", str(run), "--keep", "1"])
    assert pruned.exit_code == 0
    assert best.checkpoint in names(run)


@pytest.mark.parametrize("update", [5, 11, 14])
def test_a_run_that_was_killed_comes_to_the_same_best(lab, update):
    (lab.folder / "recipe.yaml").write_text(RISING.replace("24 updates", "16 updates"))
    lab.run("--run-dir=straight")

    lab.kill_at(update, "broken")
    lab.run("--run-dir=broken", "--resume-from=latest")

    straight, broken = lab.folder / "straight", lab.folder / "broken"
    assert read_best(broken / "checkpoints") == read_best(straight / "checkpoints")
    assert names(straight) <= names(broken)  # which keeps where it went on from, and the best of that time


def test_right_after_a_resume_the_best_is_the_one_of_that_time(config, tmp_path):
    early = {"checkpoint": "checkpoint-3", "update": 3, "by": "perplexity/loss", "mode": "min", "value": 2.0}
    for update in (3, 9):
        folder = tmp_path / f"checkpoint-{update}"
        folder.mkdir()
        (folder / "config.json").touch()
    (tmp_path / "best.json").write_text(json.dumps({**early, "checkpoint": "checkpoint-9", "update": 9}))

    best = BestCheckpoint(config, tmp_path, fake(6, early), is_main=True)

    assert read_best(tmp_path) == best_of(early)
    best.measured(9, {"perplexity/loss": 2.5})
    assert not best.is_due(9)
    best.measured(9, {"perplexity/loss": 1.5})
    assert best.is_due(9)


def test_what_is_measured_after_a_resume_at_a_saved_update_names_that_checkpoint(config, tmp_path):
    (tmp_path / "checkpoint-6").mkdir()
    (tmp_path / "checkpoint-6" / "config.json").touch()
    best = BestCheckpoint(config, tmp_path, None, is_main=True)
    best.resume(fake(6))

    best.measured(6, {"perplexity/loss": 1.5})

    assert read_best(tmp_path).checkpoint == "checkpoint-6"
    assert not best.is_due(6)


def test_a_save_that_failed_is_not_the_best(config, tmp_path):
    best = BestCheckpoint(config, tmp_path, None, is_main=True)
    best.measured(3, {"perplexity/loss": 2.0})
    best.saving(3)
    best.measured(6, {"perplexity/loss": 1.0})
    best.saving(6)

    best.failed()

    assert best.line() == "  best by perplexity/loss: checkpoint-3 (2.0000)"


def test_another_measure_begins_anew(config, tmp_path):
    other = {"checkpoint": "checkpoint-3", "update": 3, "by": "blimp/accuracy", "mode": "max", "value": 0.9}
    best = BestCheckpoint(config, tmp_path, None, is_main=True)

    best.resume(fake(6, other))

    assert best.line() is None


def test_without_a_section_the_held_out_loss_decides_and_nothing_more_is_saved(lab, tmp_path):
    (lab.folder / "recipe.yaml").write_text(RECIPE)
    plain = load_recipe(lab.folder / "recipe.yaml")
    best = BestCheckpoint(plain, tmp_path, None, is_main=True)

    best.measured(6, {"perplexity/loss": 1.0})

    assert best_by(plain).by == "perplexity/loss"
    assert not best.is_due(6)
    assert best.saving(6)["checkpoint"] == "checkpoint-6"


@pytest.mark.parametrize(
    ("value", "mode", "expected"),
    [
        (1.0, "min", True),
        (2.0, "min", False),
        (3.0, "max", True),
        (2.0, "max", False),
        (math.nan, "min", False),
    ],
)
def test_better_is_less_or_more_and_never_equal_or_not_finite(value, mode, expected):
    then = best_of({"checkpoint": "checkpoint-1", "update": 1, "by": "a/b", "mode": mode, "value": 2.0})

    assert is_better(value, then, mode) is expected
    assert is_better(value, None, mode) is math.isfinite(value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"checkpoint": "checkpoint-1"}', "{"])
def test_a_torn_file_names_nothing(tmp_path, text):
    (tmp_path / "best.json").write_text(text)

    assert read_best(tmp_path) is None


def test_a_run_without_one_says_so(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints" / "checkpoint-0").mkdir(parents=True)

    with pytest.raises(
        CheckpointError, match=r"no best checkpoint is named there\. .* Name another, such as"
    ):
        choose_model(run, "best")


def test_a_measure_of_no_evaluation_is_refused(lab):
    (lab.folder / "recipe.yaml").write_text(RISING.replace("by: perplexity/loss", "by: blimp/accuracy"))

    with pytest.raises(
        RecipeError, match=r"checkpoints\.best\.by: found 'blimp/accuracy', expected a measure"
    ):
        load_recipe(lab.folder / "recipe.yaml")


def test_all_processes_save_the_best_alike(lab):
    (lab.folder / "recipe.yaml").write_text(RISING.replace("24 updates", "12 updates"))

    status, output = lab.ends(processes=2)

    assert status == 0, output
    run = lab.folder / "runs" / "tiny"
    measured = losses(run)
    assert read_best(run / "checkpoints").value == min(measured.values())


def test_what_a_state_remembers_as_its_best_stays_as_long_as_the_state(lab):
    falling = RECIPE.replace("24 updates", "12 updates").replace("every: 6 updates", "every: 3 updates")
    best = "rolling: 4 updates, keep_resumable: 2, best: {by: perplexity/loss}"
    (lab.folder / "recipe.yaml").write_text(falling.replace("rolling: 5 updates", best))
    lab.run()

    run = lab.folder / "runs" / "tiny"
    assert names(run) == {f"checkpoint-{update}" for update in (0, 6, 8, 12)}  # 8 has 6 for its best
    lab.run("--resume-from=runs/tiny/checkpoints/checkpoint-8", "training.duration=12 updates")
    assert read_best(run / "checkpoints").checkpoint == "checkpoint-12"
