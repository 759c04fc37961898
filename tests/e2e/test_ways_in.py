"""Every way in gives the same bits; recipe and launcher may not contradict each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry import Trainer, load_recipe
from model_foundry.errors import RecipeError
from tests.lab import QUIET, Lab

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent
LAUNCHERS = {
    "python -m": [sys.executable, "-m", "model_foundry.train"],
    "accelerate launch": [
        *(
            str(SCRIPTS / "accelerate"),
            "launch",
            "--config_file",
            str(ROOT / "accelerate_configs" / "cpu.yaml"),
        ),
        *("-m", "model_foundry.train"),
    ],
    "torchrun": [
        str(SCRIPTS / "torchrun"),
        "--standalone",
        "--nproc-per-node=1",
        "-m",
        "model_foundry.train",
    ],
    "model-foundry train": [str(SCRIPTS / "model-foundry"), "train"],
    "python -m model_foundry train": [sys.executable, "-m", "model_foundry", "train"],
}


def start(lab: Lab, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the lab's folder, as a person would."""
    environment = {**os.environ, **QUIET}
    return subprocess.run(
        command, cwd=lab.folder, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize("way", LAUNCHERS)
def test_every_launcher_gives_the_same_bits(finished_run, way):
    run = f"runs/by {way}"

    done = start(finished_run, *LAUNCHERS[way], "recipe.yaml", f"--run-dir={run}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert finished_run.weights(run) == finished_run.weights("runs/tiny")
    assert finished_run.metrics(run) == finished_run.metrics("runs/tiny")


def test_a_trainer_in_python_gives_the_same_bits(finished_run, tmp_path, capsys):
    config = load_recipe(finished_run.folder / "recipe.yaml")
    (tmp_path / "texts").symlink_to(finished_run.folder / "texts")

    state = Trainer(config, tmp_path).train()

    here = Lab(tmp_path)
    assert (state.updates, state.tokens) == (24, 3072)
    assert here.weights("runs/tiny") == finished_run.weights("runs/tiny")
    assert here.metrics("runs/tiny") == finished_run.metrics("runs/tiny")
    assert here.status("runs/tiny")["state"] == "finished"
    assert "finished: " in capsys.readouterr().out


LAST_WORDS = [
    "error: recipe.yaml: 1 problem",
    "  command line model.widht: unknown key. Did you mean 'width'?",
]


@pytest.mark.parametrize("way", ["python -m", "model-foundry train", "accelerate launch --quiet"])
def test_a_mistake_of_the_user_is_the_last_thing_on_the_screen(finished_run, way):
    command = list(LAUNCHERS[way.removesuffix(" --quiet")])
    if way.endswith("--quiet"):
        command.insert(2, "--quiet")

    done = start(finished_run, *command, "recipe.yaml", "model.widht=8")

    assert done.returncode == (1 if "accelerate" in way else 2)
    assert done.stderr.splitlines() == LAST_WORDS
    assert done.stdout == ""


def test_a_mistake_of_the_user_stands_in_the_summary_with_which_torchrun_ends(finished_run):
    done = start(finished_run, *LAUNCHERS["torchrun"], "recipe.yaml", "model.widht=8")

    summary = done.stderr.rpartition("Root Cause (first observed failure):")[2]
    assert done.returncode == 1
    assert all(line.strip() in summary for line in LAST_WORDS)
    assert "To enable traceback" not in summary


QUICK = {
    "help": [sys.executable, "-m", "model_foundry.train", "--help"],
    "help of the command": [sys.executable, "-m", "model_foundry", "--help"],
    "help of train": [sys.executable, "-m", "model_foundry", "train", "--help"],
    "no recipe": [sys.executable, "-m", "model_foundry.train"],
    "a recipe error": [sys.executable, "-m", "model_foundry.train", "recipe.yaml", "model.widht=8"],
    "a recipe error of the command": [
        sys.executable,
        "-m",
        "model_foundry",
        "train",
        "recipe.yaml",
        "seed=x",
    ],
}


@pytest.mark.parametrize("case", QUICK)
def test_torch_is_not_imported_for(finished_run, case):
    python, *rest = QUICK[case]

    done = start(finished_run, python, "-X", "importtime", *rest)

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == (0 if "help" in case else 2)
    assert "model_foundry" in imported
    assert imported.isdisjoint({"torch", "transformers", "accelerate", "tokenizers", "datasets"})
    if case == "help":
        assert "exit status: 0 finished, 2 recipe or usage, 3 data" in done.stdout
    elif case == "a recipe error":
        assert said == [
            "error: recipe.yaml: 1 problem",
            "  command line model.widht: unknown key. Did you mean 'width'?",
        ]


# Who owns which truth: the recipe its precision, the launcher its processes.


def test_a_precision_that_contradicts_the_launcher_is_refused_with_both(lab):
    lab.environment["ACCELERATE_MIXED_PRECISION"] = "fp16"

    status, output = lab.ends()

    assert status == 2
    assert output.splitlines()[-1] == (
        "error: training.precision is fp32, and the launcher's configuration says mixed_precision: fp16. "
        "Let the recipe decide: set mixed_precision to no in the configuration file."
    )
    assert lab.status("runs/tiny")["reason"] == "recipe"


def test_a_precision_that_both_name_is_none_too_many(lab):
    lab.environment["ACCELERATE_MIXED_PRECISION"] = "bf16"

    output = lab.run("training.precision=bf16", "training.duration=4 updates")

    assert "bf16 · seed 3" in output


def test_processes_that_cannot_find_each_other_are_refused_before_they_wait(lab):
    lab.environment["WORLD_SIZE"] = "2"  # and no rank: as from a scheduler that starts tasks by itself

    status, output = lab.ends()

    assert status == 2, output
    assert output.splitlines()[-1] == (
        "error: the environment says WORLD_SIZE=2, and RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not "
        "set, so the processes cannot find each other. Start them with accelerate launch or torchrun, which "
        "set all of these, or unset WORLD_SIZE."
    )


def test_processes_that_did_not_join_are_refused_with_both_numbers(monkeypatch):
    from accelerate import Accelerator

    from model_foundry.training.accelerator import build_accelerator

    Accelerator(cpu=True)  # as when a notebook has made one: Accelerate keeps what it found then
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")

    with pytest.raises(RecipeError, match=r"started 2 processes, and Accelerate joined 1\. On CPUs set"):
        build_accelerator("fp32", timeout_seconds=60)


def test_accumulation_in_the_launcher_is_refused(lab):
    lab.environment["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = "4"

    status, output = lab.ends()

    assert status == 2, output
    assert (
        "error: the launcher sets gradient_accumulation_steps to 4, and accumulation follows from" in output
    )


def test_a_config_made_in_python_is_held_to_the_rules_of_recipes(finished_run, tmp_path):
    config = load_recipe(finished_run.folder / "recipe.yaml")
    contradictory = config.model_copy(
        update={"training": config.training.model_copy(update={"precision": "fp8"})}
    )

    with pytest.raises(RecipeError, match=r"training\.precision: 'fp8' is not available yet"):
        Trainer(contradictory, tmp_path)

    assert not any(tmp_path.iterdir())
