"""What a run leaves behind to be read: by a person, by a program, and by whoever repeats it a year later."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML
from typer.testing import CliRunner

from model_foundry import load_recipe
from model_foundry.cli import app
from model_foundry.errors import CheckpointError, RecipeError
from model_foundry.training.environment import redacted
from tests.lab import QUIET, RECIPE, Lab, write_texts

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
SAMPLES = "samples={prompts: [The, ba], every: 10 updates, tokens: 12}"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lab with a run that was started as a person does, killed in update 13, and resumed."""
    lab = Lab(tmp_path_factory.mktemp("told"), {"MODEL_FOUNDRY_FAILPOINT": "update.13=kill"})
    write_texts(lab.folder / "texts", documents=30, words=60)
    (lab.folder / "recipe.yaml").write_text(RECIPE)
    arguments = [SAMPLES, "logging.json_lines=true", "--run-dir=run"]
    process = lab.start(*arguments)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == -9, output
    lab.environment.clear()
    lab.run(*arguments, "--resume-from=latest")
    return lab


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_recipe_is_kept_as_given_and_as_it_was_understood(told):
    run = told.folder / "run"
    resolved = YAML(typ="safe").load(run / "recipe.resolved.yaml")

    assert (run / "recipe.yaml").read_text() == RECIPE
    assert (run / "overrides.txt").read_text().splitlines() == [SAMPLES, "logging.json_lines=true"]
    assert resolved["optimizer"]["learning_rate"] == 3e-3
    assert resolved["data"]["order"] == "shuffle_each_epoch"  # a default, spelled out
    again = load_recipe(run / "recipe.yaml", (run / "overrides.txt").read_text().splitlines())
    assert load_recipe(run / "recipe.resolved.yaml") == again


def test_the_command_can_be_pasted(told):
    first, second = (told.folder / "run" / "command.txt").read_text().splitlines()

    start = ["-m", "model_foundry.train", "recipe.yaml", SAMPLES, "logging.json_lines=true", "--run-dir=run"]
    assert shlex.split(first)[1:] == start
    assert shlex.split(first)[0].endswith("python") or shlex.split(first)[0] == sys.executable
    assert shlex.split(second)  # the second one was this very process


def test_the_environment_names_code_packages_hardware_and_folder(told):
    environment = json.loads((told.folder / "run" / "environment.json").read_text())

    assert environment["packages"]["torch"] == torch.__version__
    assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
    assert environment["threads"] == 1
    assert environment["cores"] == os.cpu_count()
    assert environment["memory_bytes"] > 2**28
    assert environment["folder"] == str(told.folder)
    assert environment["variables"]["OMP_NUM_THREADS"] == "1"
    assert environment["git"] is None  # the lab is no repository


@pytest.mark.parametrize("is_dirty", [False, True])
def test_the_commit_of_the_working_folder_is_recorded(tmp_path, is_dirty):
    from model_foundry.training.environment import describe_environment

    identity = ["-c", "user.name=a", "-c", "user.email=a@b.invalid"]
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "a recipe"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    if is_dirty:
        (tmp_path / "recipe.yaml").write_text("")

    git = describe_environment(tmp_path)["git"]

    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True)
    assert git == {"commit": head.stdout.strip(), "is_dirty": is_dirty}


def test_secrets_are_hidden_in_commands_and_nothing_else_is():
    secret = "hf_" + "a1B2" * 6
    arguments = [
        "train",
        f"tracking.0.api_key={secret}",
        f"x={secret}",
        "tokenizer={type: byte}",
        "samples.tokens=9",
    ]

    assert redacted(arguments) == [
        "train",
        "tracking.0.api_key=***",
        "x=***",
        "tokenizer={type: byte}",
        "samples.tokens=9",
    ]


def test_the_log_tells_the_run_in_json_lines(told):
    log = lines(told.folder / "run" / "logs" / "rank0.log")

    said = [str(line["message"]) for line in log]
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in log)
    assert "evaluation after update 6: loss" in "\n".join(said)
    assert any("11,648 parameters" in text for text in said)
    assert any("resumed from checkpoint-10" in text for text in said)
    assert said[-1].startswith("finish")


def test_events_and_status_agree_with_the_checkpoints(told):
    events = lines(told.folder / "run" / "events.jsonl")
    status = told.status("run")

    kinds = [event["event"] for event in events]
    assert kinds[0] == "start"
    assert events[kinds.index("resume")]["checkpoint"] == "checkpoint-10"
    assert [event["update"] for event in events if event["event"] == "checkpoint"] == [0, 5, 10, 15, 20, 24]
    assert kinds[-1] == "finish"
    assert (status["state"], status["update"], status["exit_code"]) == ("finished", 24, 0)
    assert status["last_good_checkpoint"] == "checkpoint-24"
    assert status["host"]


def test_samples_are_those_of_a_run_that_was_never_stopped(told):
    told.run(SAMPLES, "--run-dir=straight")

    samples, straight = (
        [line | {"time": None} for line in lines(told.folder / run / "samples.jsonl")]
        for run in ("run", "straight")
    )

    assert samples == straight
    assert [(line["update"], line["prompt"]) for line in samples] == [
        (update, prompt) for update in (0, 10, 20, 24) for prompt in ("The", "ba")
    ]
    assert all(isinstance(line["text"], str) for line in samples)


def test_the_screen_shows_no_control_characters(told):
    output = told.run(SAMPLES, "tokenizer={type: byte}", "--run-dir=bytes")

    assert "sample after update 24: ba|" in output
    assert all(char.isprintable() or char == "\n" for char in output)


def test_a_screen_that_is_gone_does_not_end_a_run(told):
    command = [sys.executable, "-m", "model_foundry.train", "recipe.yaml", "--run-dir=unseen"]
    reading, writing = os.pipe()
    os.close(reading)

    done = subprocess.run(command, cwd=told.folder, env={**os.environ, **QUIET}, stdout=writing, timeout=240)

    os.close(writing)
    assert done.returncode == 0
    assert told.status("unseen")["state"] == "finished"


def generate(*arguments: str) -> str:
    """The command's output; its errors are raised."""
    return CliRunner().invoke(app, ["generate", *arguments], catch_exceptions=False).output


def test_generate_continues_a_prompt_and_equal_seeds_give_equal_text(told):
    run = str(told.folder / "run")

    one, again, other = (generate(run, "ba", "--tokens=12", f"--seed={seed}") for seed in (1, 1, 2))

    assert one.startswith("ba")
    assert len(one) > 6
    assert one == again
    assert one != other
    assert generate(f"{run}/checkpoints/checkpoint-24", "ba", "--tokens=12") == one


@pytest.mark.parametrize("how", [["--temperature=0"], ["--top-p=1e-9"]])
def test_generate_takes_the_most_probable_token_when_nothing_else_is_left(told, how):
    run = str(told.folder / "run")

    assert len({generate(run, "ba", "--tokens=8", f"--seed={seed}", *how) for seed in range(4)}) == 1


def test_generate_refuses_what_it_cannot_use(told):
    with pytest.raises(
        CheckpointError, match=r"texts: neither a run with checkpoints nor a folder with config\.json"
    ):
        generate(str(told.folder / "texts"), "ba")
    with pytest.raises(RecipeError, match=r"--top-p 3\.0: expected a share above 0 and at most 1"):
        generate(str(told.folder / "run"), "ba", "--top-p=3")
