"""``model-foundry checkpoints``: what a person sees of a run's checkpoints, and what pruning takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.config.load import load_recipe
from model_foundry.errors import CheckpointError, RecipeError, RunDirectoryError
from model_foundry.training.aliases import add_alias, alias_of, read_aliases
from model_foundry.training.checkpoint_files import find_checkpoint, verify_checkpoint
from tests.lab import RECIPE, Lab, write_texts

RULES = [
    "checkpoints.schedule=[{type: list, at: [3, 6], kind: weights}, {type: list, at: [9]}]",
    "checkpoints.rolling=4 updates",
    "checkpoints.keep_resumable=9",
    "checkpoints.alias=u{updates}-{tokens}k",
    "training.duration=12 updates",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("checkpoints")
    write_texts(folder / "texts", documents=30, words=60)
    (folder / "recipe.yaml").write_text(RECIPE)
    lab = Lab(folder)
    lab.run("--run-dir=run", *RULES)
    return lab


@pytest.fixture
def run(trained: Lab, tmp_path: Path) -> Path:
    return shutil.copytree(trained.folder / "run", tmp_path / "run")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["checkpoints", *map(str, arguments)], catch_exceptions=True)


def told(*arguments: str | Path) -> Any:
    result = call(*arguments, "--json")
    assert result.exit_code == 0, result
    return json.loads(result.output)


def damage(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def test_list_shows_exposure_size_and_what_each_holds(run: Path) -> None:
    rows = told("list", run)["checkpoints"]

    assert [row["updates"] for row in rows] == [12, 9, 8, 6, 4, 3, 0]
    assert [row["resumable"] for row in rows] == [True, True, True, False, True, False, True]
    assert [row["milestone"] for row in rows] == [True, True, False, True, False, True, True]
    assert rows[0]["tokens"] == 12 * 8 * 16
    assert rows[0]["words"] > rows[1]["words"] > 0
    assert rows[0]["bytes"] == sum(file.stat().st_size for file in _files(run, 12))
    assert [row["aliases"] for row in rows][:3] == [["u12-1k"], ["u9-1k"], []]
    text = call("list", run).output.splitlines()
    assert text[0].split()[:5] == ["updates", "tokens", "words", "epoch", "size"]
    assert text[1].split()[0:2] == ["12", "1,536"]
    assert text[1].split()[-5:] == ["yes", "yes", "yes", "u12-1k", "best"]


def _files(run: Path, updates: int) -> list[Path]:
    folder = run / "checkpoints" / f"checkpoint-{updates}"
    return [file for file in folder.rglob("*") if file.is_file() and file.name != "MANIFEST.json"]


def test_list_names_what_is_wrong(run: Path) -> None:
    damage(run / "checkpoints" / "checkpoint-9")

    row = told("list", run)["checkpoints"][1]

    assert row["verified"] is False
    assert "model.safetensors is damaged" in row["problem"]
    assert "NO: model.safetensors is damaged" in call("list", run).output


def test_list_of_a_run_without_checkpoints_says_so(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()

    assert call("list", tmp_path).output.strip().endswith("no checkpoint yet.")


def test_verify_counts_what_holds(run: Path) -> None:
    result = call("verify", run)

    assert (result.exit_code, result.output) == (0, f"{run}: 7 checkpoints, all of them hold.\n")


def test_verify_names_each_bad_one(run: Path) -> None:
    damage(run / "checkpoints" / "checkpoint-9")
    (run / "checkpoints" / "checkpoint-3" / "config.json").unlink()

    result = call("verify", run)

    error = result.exception
    assert isinstance(error, CheckpointError)
    assert error.exit_status == 2
    lines = str(error).splitlines()
    assert lines[0].endswith("2 of 7 checkpoints do not hold:")
    assert "checkpoint-9: model.safetensors is damaged" in lines[1]
    assert "checkpoint-3: config.json is listed in the manifest but missing" in lines[2]
    assert lines[3].startswith("Restore them from a copy")
    assert [row["name"] for row in json.loads(call("verify", run, "--json").output)["bad"]] == [
        "checkpoint-9",
        "checkpoint-3",
    ]


def test_prune_keeps_the_newest_states_and_the_weights_of_milestones(run: Path) -> None:
    planned = told("prune", run, "--keep", "2", "--dry-run")
    before = [row["updates"] for row in told("list", run)["checkpoints"]]
    done = told("prune", run, "--keep", "2")

    assert before == [12, 9, 8, 6, 4, 3, 0]
    assert planned["removed"] == done["removed"]
    assert {item["name"]: item["removed"] for item in done["removed"]} == {
        "checkpoint-8": "checkpoint",
        "checkpoint-4": "checkpoint",
        "checkpoint-0": "state",
    }
    rows = told("list", run)["checkpoints"]
    assert all(row["verified"] for row in rows)
    assert [row["updates"] for row in rows] == [12, 9, 6, 3, 0]
    assert [row["resumable"] for row in rows] == [True, True, False, False, False]
    assert told("prune", run, "--keep", "2")["removed"] == []


def test_prune_follows_the_recipe_where_nothing_is_said(run: Path) -> None:
    result = call("prune", run)

    assert result.output == "freed 0.0 MB (0 checkpoints)\n"


def test_prune_says_what_it_takes(run: Path) -> None:
    lines = call("prune", run, "--keep", "1", "--dry-run").output.splitlines()

    assert [line.split(",")[0] for line in lines[:2]] == [
        "checkpoint-9: resumable state; the weights stay",
        "checkpoint-8: whole",
    ]
    assert lines[-1].startswith("would free ")


def test_prune_never_counts_a_damaged_one_as_kept(run: Path) -> None:
    damage(run / "checkpoints" / "checkpoint-12")

    told("prune", run, "--keep", "1")

    found = find_checkpoint(run / "checkpoints")
    assert found is not None
    assert found.updates == 9
    assert (run / "checkpoints" / "checkpoint-12" / "state").is_dir()


def test_prune_refuses_a_run_that_goes_on(run: Path) -> None:
    from model_foundry.run_directory import RunDirectory

    directory = RunDirectory(run)
    directory.open(resume=True)
    try:
        error = call("prune", run, "--keep", "1").exception
    finally:
        directory.close()

    assert isinstance(error, RunDirectoryError)
    assert "is in use by process" in str(error)


def test_prune_refuses_checkpoints_of_an_unknown_run(run: Path) -> None:
    (run / "status.json").unlink()

    error = call("prune", run).exception

    assert isinstance(error, RunDirectoryError)
    assert "does not say which run this is" in str(error)


@pytest.mark.parametrize("verb", ["list", "verify", "prune"])
def test_what_is_no_run_is_refused(verb: str, tmp_path: Path) -> None:
    error = call(verb, tmp_path / "nothing").exception

    assert isinstance(error, RunDirectoryError)
    assert "not a run: there is no folder checkpoints in it" in str(error)
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("chck_{words}M", "chck_12M"),
        ("step{updates}", "step1500"),
        ("{tokens}B-e{epoch}", "2B-e1.5"),
        ("{words}k_{updates}k", "12999k_1k"),
    ],
)
def test_an_alias_counts_in_whole_units(template: str, name: str) -> None:
    record = {"updates": 1500, "tokens": 2_100_000_000, "words": 12_999_999, "epoch": 1.5}

    assert alias_of(template, record) == name


def test_the_first_milestone_keeps_a_name_and_lost_ones_give_it_up(tmp_path: Path) -> None:
    for updates in (5, 9, 12):
        (tmp_path / f"checkpoint-{updates}").mkdir()
    record = {"updates": 1, "tokens": 1, "words": 1_200_000, "epoch": 1.0}

    add_alias(tmp_path, "chck_{words}M", record, "checkpoint-9")
    add_alias(tmp_path, "chck_{words}M", record, "checkpoint-12")
    assert read_aliases(tmp_path) == {"chck_1M": "checkpoint-9"}
    add_alias(tmp_path, "chck_{words}M", record, "checkpoint-5")
    assert read_aliases(tmp_path) == {"chck_1M": "checkpoint-5"}
    (tmp_path / "checkpoint-5").rmdir()
    assert read_aliases(tmp_path) == {}
    (tmp_path / "aliases.json").write_text("[")
    assert read_aliases(tmp_path) == {}


@pytest.mark.parametrize("alias", ["chck", "{seed}", "a/{words}", "{words"])
def test_a_template_that_names_nothing_is_refused(trained: Lab, alias: str) -> None:
    with pytest.raises(RecipeError, match=r"expected letters, digits.* at least one of \{updates\}"):
        load_recipe(trained.folder / "recipe.yaml", [f"checkpoints.alias='{alias}'"])


def test_aliases_stay_outside_the_checkpoints(run: Path) -> None:
    assert set(read_aliases(run / "checkpoints").values()) >= {"checkpoint-9", "checkpoint-12"}
    assert verify_checkpoint(run / "checkpoints" / "checkpoint-12").is_resumable
