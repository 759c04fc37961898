"""Cool-down runs from a trunk: the same bits as a run that decays there by itself, and resumable."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from model_foundry.cli import app
from model_foundry.errors import ModelFoundryError

pytestmark = [pytest.mark.e2e]

WSD = "schedule={type: wsd, warmup: 4 updates, decay: 6 updates, shape: 1-sqrt, floor: 10%}"
RULES = "[{type: list, at: [18], kind: resumable}, {type: list, at: [3], kind: weights}]"
KEPT = [f"checkpoints.schedule={RULES}", "checkpoints.keep_resumable=9"]
SHAPE = ["--shape", "1-sqrt", "--floor", "10%"]


def branch(lab, *arguments):
    """Make a branch in the lab's folder and return the arguments that train it."""
    done = CliRunner().invoke(app, ["branch", *arguments, "--no-train"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = [line for line in done.output.splitlines() if "next:" in line]
    return found[0].split("model-foundry train ")[1].split()


def test_a_branch_is_the_run_that_decays_there_by_itself_and_resumes_as_any_run(lab, monkeypatch):
    monkeypatch.chdir(lab.folder)
    lab.run("--run-dir=straight", WSD, *KEPT, "training.duration=24 updates")
    lab.run("--run-dir=trunk", WSD, *KEPT, "training.duration=30 updates")

    arguments = branch(lab, "trunk@18", "--decay", "6 updates", *SHAPE, "--run-dir=branch")
    status, output = lab.ends(*arguments[1:], recipe=arguments[0], failpoint="update.22=kill")
    assert status == -9, output
    status, output = lab.ends(*arguments[1:], recipe=arguments[0])
    assert status == 0, output

    assert lab.weights("branch") == lab.weights("straight")
    after = [line for line in lab.metrics("straight") if line["update"] > 18]
    assert lab.metrics("branch") == after
    origin = json.loads((lab.folder / "branch" / "branch.json").read_text())
    trunk = json.loads((lab.folder / "trunk/checkpoints/checkpoint-18/MANIFEST.json").read_text())
    assert (origin["run_id"], origin["digest"]) == (trunk["run_id"], trunk["digest"])
    first = json.loads((lab.folder / "branch/checkpoints/checkpoint-18/trainer_state.json").read_text())
    assert first["branch_of"] == origin
    assert lab.status("branch")["run_id"] != trunk["run_id"]

    # A share is of the whole branch, as in a wsd schedule: a quarter of 24 updates are 6.
    arguments = branch(lab, "straight@18", "--decay", "25%", *SHAPE, "--run-dir=again")
    status, output = lab.ends(*arguments[1:], recipe=arguments[0])
    assert status == 0, output
    assert lab.weights("again") == lab.weights("straight")

    for words, message in [
        (["trunk@17"], "trunk@17: no checkpoint is there. Name a run's folder, one of its checkpoints, or"),
        (["trunk@3"], "trunk/checkpoints/checkpoint-3: it holds weights alone"),
        (["trunk@18", "--decay", "ten"], "--decay ten --floor 0: expected an amount of training"),
        (["trunk@18", "--decay", "100%"], "expected less than the whole branch"),
        (["trunk@18", "--decay", "0 updates"], "it is less than one update"),
        (["trunk@18", "data.context=8", "--run-dir=x"], "data.context was 16 then and is 8 now"),
        (["trunk@18", "--run-dir=branch"], "branch holds a run already. Name another folder"),
    ]:
        with pytest.raises(ModelFoundryError, match=message.replace("(", r"\(")):
            CliRunner().invoke(app, ["branch", *words], catch_exceptions=False)
