"""Optimizers with a state of their own kind: stopped between saves, killed, and resumed to the same bits."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from model_foundry.training.checkpoint_files import checkpoint_name

pytestmark = [pytest.mark.e2e]


@pytest.mark.parametrize("name", ["muon", "schedule_free"])
def test_a_run_that_is_stopped_and_killed_ends_as_the_one_that_was_not(lab, name):
    arguments = [f"optimizer={{type: {name}, learning_rate: 3e-3}}"]
    lab.run("--run-dir=straight", *arguments)

    # Asked to stop in update 13, the run saves where the straight one did not.
    status, output = lab.ends("--run-dir=broken", *arguments, failpoint="update.13=signal:SIGTERM")
    assert status == 75, output
    lab.kill_at(18, "broken", *arguments, "--resume-from=latest")
    lab.run("--run-dir=broken", *arguments, "--resume-from=latest")

    assert lab.weights("broken") == lab.weights("straight")
    assert lab.metrics("broken") == lab.metrics("straight")
    groups = json.loads((lab.folder / "straight" / "plan.json").read_text())["optimizer_groups"]
    kinds = {group.get("kind") for group in groups}
    assert kinds == ({"muon", "adamw"} if name == "muon" else {None})


def test_a_checkpoint_of_schedule_free_holds_the_averaged_weights(lab):
    lab.run("--run-dir=run", "optimizer={type: schedule_free, learning_rate: 3e-3}")

    folder = lab.folder / "run" / "checkpoints" / checkpoint_name(24)
    weights = load_file(folder / "model.safetensors")
    optimizer = torch.load(folder / "state" / "optimizer.bin", weights_only=True)
    names = [name for group in optimizer["param_groups"] for name in group["param_names"]]
    states = dict(zip(names, (optimizer["state"][number] for number in range(len(names))), strict=True))
    for name, state in states.items():
        x = state["y"] + (1 - 1 / 0.9) * (state["z"] - state["y"])
        torch.testing.assert_close(weights[name], x, rtol=1e-5, atol=1e-6)
    assert any(not torch.equal(weights[name], state["y"]) for name, state in states.items())
