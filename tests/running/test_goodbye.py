"""The command that a run ends with works as it is printed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from model_foundry.config.load import load_recipe
from model_foundry.running.records import console_command, goodbye
from model_foundry.trainer import Trainer

ROOT = Path(__file__).parent.parent.parent
BESIDE = Path(sys.executable).with_name("model-foundry")


def test_the_command_goes_by_its_name_where_the_path_finds_this_interpreter_s(monkeypatch):
    monkeypatch.setenv("PATH", str(BESIDE.parent))

    assert console_command() == ["model-foundry"]


@pytest.mark.parametrize("others", ["nothing", "another environment's"])
def test_the_command_goes_by_its_path_where_the_name_would_not_lead_to_it(tmp_path, monkeypatch, others):
    if others != "nothing":
        (tmp_path / "model-foundry").write_text("#!/bin/sh\nexit 9\n")
        (tmp_path / "model-foundry").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert console_command() == [str(BESIDE)]


def test_the_path_is_short_below_the_working_folder(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(BESIDE.parent.parent)

    assert console_command() == [f"{BESIDE.parent.name}/model-foundry"]


def test_the_command_goes_through_the_interpreter_where_no_script_is_installed(tmp_path, monkeypatch):
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    assert console_command() == [str(tmp_path / "python"), "-m", "model_foundry"]


def test_what_is_printed_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    command = shlex.join([*console_command(), "generate", "--help"])

    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    assert "Continue a prompt" in done.stdout


def test_folders_below_the_working_folder_are_named_from_there(tmp_path, monkeypatch):
    trainer = Trainer(load_recipe(ROOT / "recipes" / "demo.yaml"), tmp_path)
    trainer.run.path.mkdir(parents=True)
    (trainer.run.path / "status.json").write_text('{"last_good_checkpoint": "checkpoint-9"}')

    monkeypatch.chdir(tmp_path)
    near = goodbye(trainer, ["  loss 1.0"])
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    far = goodbye(trainer, [])

    assert near[:2] == ["  loss 1.0", "finished: runs/demo/checkpoints/checkpoint-9"]
    assert near[2].endswith("generate runs/demo 'Return the'")
    assert far[0] == f"finished: {tmp_path}/runs/demo/checkpoints/checkpoint-9"
