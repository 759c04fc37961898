"""Checkpoints that are published beside training: the same bytes, the same promises."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from model_foundry.training.background import Writer
from model_foundry.training.checkpoint_files import find_checkpoint, published, verify_checkpoint
from model_foundry.training.snapshot import FrozenModel, Snapshot
from tests.lab import Lab

BACKGROUND = "checkpoints.background=true"
SCHEDULE = "checkpoints.schedule=[{type: list, at: [7], kind: weights}]"
SHORT = ["training.duration=14 updates", "checkpoints.keep_resumable=9", SCHEDULE]


def events(lab: Lab, run: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (lab.folder / run / "events.jsonl").read_text().splitlines()]


def names(lab: Lab, run: str) -> set[str]:
    return {path.name for path in published(lab.folder / run / "checkpoints")}


def test_background_checkpoints_equal_the_foregrounds_to_the_byte(lab: Lab) -> None:
    lab.run("--run-dir=front", *SHORT)
    lab.run("--run-dir=back", *SHORT, BACKGROUND)

    front, back = (lab.folder / run / "checkpoints" for run in ("front", "back"))
    assert names(lab, "front") == names(lab, "back") == {f"checkpoint-{n}" for n in (0, 5, 7, 10, 14)}
    for path in published(front):
        one, other = verify_checkpoint(path), verify_checkpoint(back / path.name)
        files = {name: facts for name, facts in one.manifest["files"].items() if name != "trainer_state.json"}
        assert {name: other.manifest["files"].get(name) for name in files} == files, path.name
        assert one.record["optimizer"] == other.record["optimizer"]
        assert one.record["random_states"] == other.record["random_states"]
    assert lab.metrics("front") == lab.metrics("back")


def test_two_processes_save_in_the_background_as_in_the_foreground(lab: Lab) -> None:
    lab.run("--run-dir=front", *SHORT, processes=2)
    lab.run("--run-dir=back", *SHORT, BACKGROUND, processes=2)

    for path in published(lab.folder / "front" / "checkpoints"):
        one, other = verify_checkpoint(path), verify_checkpoint(lab.folder / "back/checkpoints" / path.name)
        state = {name for name in one.manifest["files"] if name.startswith("state/")}
        for name in {*state, "model.safetensors"}:
            assert one.manifest["files"][name] == other.manifest["files"][name]


@pytest.mark.parametrize("place", ["save.staged", "publish.manifest", "publish.rename"])
def test_a_kill_in_the_background_leaves_the_last_acknowledged_checkpoint(lab: Lab, place: str) -> None:
    lab.run("--run-dir=whole")
    stopped, output = lab.ends("--run-dir=run", BACKGROUND, failpoint="update.8=signal:SIGTERM")
    assert stopped == 75, output
    status, output = lab.ends("--run-dir=run", BACKGROUND, "--resume-from=latest", failpoint=f"{place}=kill")

    assert status == -signal.SIGKILL, output
    said = [event["name"] for event in events(lab, "run") if event["event"] == "checkpoint"]
    assert said[-1] == "checkpoint-8"
    assert lab.status("run")["last_good_checkpoint"] == "checkpoint-8"
    found = find_checkpoint(lab.folder / "run" / "checkpoints")
    assert found is not None
    assert found.path.name == "checkpoint-8"
    lab.run("--run-dir=run", BACKGROUND, "--resume-from=latest")
    assert lab.weights("run") == lab.weights("whole")


def test_a_failure_in_the_background_ends_the_run_at_an_update_boundary(lab: Lab) -> None:
    status, output = lab.ends(BACKGROUND, "--run-dir=run", failpoint="publish.rename=errno:28")

    assert status == 1
    assert re.search(r"checkpoint-0 could not be saved: .*No space left.*Repair the disk", output), output
    assert lab.status("run")["state"] == "failed"
    assert not names(lab, "run")
    assert not list((lab.folder / "run" / "checkpoints").glob(".tmp-*"))


def test_all_processes_learn_of_a_failure_in_the_background(lab: Lab) -> None:
    status, output = lab.ends(BACKGROUND, "--run-dir=run", processes=2, failpoint="publish.rename@0=errno:28")

    assert status == 1
    assert "No space left" in output
    assert "another process could not do its part" in output


def test_training_goes_on_after_a_failure_where_the_recipe_says_so(lab: Lab) -> None:
    lab.run("--run-dir=run", "training.duration=8 updates")
    status, output = lab.ends(
        BACKGROUND,
        "checkpoints.on_save_error=continue",
        "training.duration=8 updates",
        "--run-dir=other",
        failpoint="publish.rename=errno:5",
    )

    assert status == 0, output
    assert [event["update"] for event in events(lab, "other") if event["event"] == "save_failed"] == [0]
    assert names(lab, "other") == names(lab, "run") - {"checkpoint-0"}


def test_a_stop_waits_for_the_checkpoint_that_is_being_written(lab: Lab) -> None:
    failpoint = "save.staged=sleep:0.5,update.2=signal:SIGTERM"
    status, output = lab.ends(BACKGROUND, "--run-dir=run", failpoint=failpoint)

    assert status == 75, output
    assert names(lab, "run") == {"checkpoint-0", "checkpoint-2"}
    last = [event["event"] for event in events(lab, "run")]
    assert last[-1] == "preempted"


def test_training_goes_on_while_a_checkpoint_is_written_and_says_how_long_it_stood(lab: Lab) -> None:
    status, output = lab.ends(
        BACKGROUND,
        "--run-dir=slow",
        "training.duration=9 updates",
        "checkpoints.rolling=20 updates",
        failpoint="save.staged=sleep:1.5",
    )

    assert status == 0, output
    text = (lab.folder / "slow" / "metrics.jsonl").read_text().splitlines()
    stalls = {line["update"]: line.get("checkpoint_stall_seconds") for line in map(json.loads, text)}
    assert 0 < stalls[1] < 1.0, stalls  # the copy alone, not the 1.5 s of the writing
    found = [event for event in events(lab, "slow") if event["event"] in ("save", "checkpoint")]
    assert [event["event"] for event in found][:2] == ["save", "checkpoint"]
    assert found[0]["stall_seconds"] < 1.0  # type: ignore[operator]


def test_a_copy_keeps_what_shares_memory_and_reuses_its_own() -> None:
    model = torch.nn.Linear(3, 3)
    accelerator = Accelerator(cpu=True)
    tied = OrderedDict(a=model.weight, b=model.weight, view=model.weight[1:], none=torch.empty(0))
    model.state_dict = lambda *args, **kwargs: tied  # type: ignore[method-assign,assignment,return-value]
    snapshot = Snapshot()

    _, first = snapshot.take(accelerator, model, resumable=False)
    state = first.state_dict()
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1)

    assert torch.equal(state["a"], before)
    assert state["a"].data_ptr() == state["b"].data_ptr() != model.weight.data_ptr()
    assert torch.equal(state["view"], before[1:])
    assert state["view"].data_ptr() == state["a"][1:].data_ptr()
    assert isinstance(state, OrderedDict)
    _, second = snapshot.take(accelerator, model, resumable=False)
    assert second.state_dict()["a"].data_ptr() == state["a"].data_ptr()
    assert [name for name, _ in FrozenModel(model, {}).named_parameters()] == ["weight", "bias"]


def test_a_writer_keeps_its_failure_until_it_is_asked(caplog: pytest.LogCaptureFixture) -> None:
    writer, done = Writer(), threading.Event()

    def fail() -> None:
        done.wait(10)
        raise OSError("no room")

    writer.begin(fail)
    assert not writer.has_failed
    done.set()
    with pytest.raises(OSError, match="no room"):
        writer.wait()
    writer.wait()  # told once
    writer.begin(fail)
    writer.close()
    assert "the checkpoint that was being written is lost: no room" in caplog.text


def test_the_folder_is_clean_after_a_background_save(lab: Lab) -> None:
    lab.run(BACKGROUND, "--run-dir=run", "training.duration=6 updates")

    left = [path.name for path in Path(lab.folder / "run" / "checkpoints").iterdir()]
    assert not [name for name in left if name.startswith(".")]
