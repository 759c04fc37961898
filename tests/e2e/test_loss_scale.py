"""fp16 with a scaled loss in real runs: Accelerate has it on GPUs alone, so the tests switch it on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from model_foundry.training import accelerator as building

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.nightly]

COUNTS = ("update", "tokens", "words")
FIRST = 2.0**24
"""Gradients times this are beyond fp16."""


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are forked from here compute in fp16 and scale their loss."""

    def build(*arguments: Any, **keywords: Any) -> Accelerator:
        made = Accelerator(*arguments, **keywords)
        AcceleratorState._shared_state["_mixed_precision"] = "fp16"
        made.native_amp = True
        made.scaler = torch.amp.GradScaler("cpu", init_scale=FIRST, growth_interval=8)
        return made

    monkeypatch.setattr(building, "Accelerator", build)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_overflowed_is_computed_again_from_the_same_windows(lab, monkeypatch, scaled, processes):
    lab.run("--run-dir=scaled", processes=processes)
    monkeypatch.undo()
    lab.run("--run-dir=plain", processes=processes)

    plain, scaled_lines = lab.metrics("plain"), lab.metrics("scaled")

    updates = [line for line in scaled_lines if "loss" in line]
    assert updates[0]["loss_scale"] < FIRST
    assert updates[0]["overflows"] >= 1
    assert sum(line["overflows"] for line in updates) > updates[0]["overflows"]  # it grew, and was too high
    for line, other in zip(scaled_lines, plain, strict=True):
        assert [line[name] for name in COUNTS] == [other[name] for name in COUNTS]
        assert line.get("loss", 0.0) == pytest.approx(other.get("loss", 0.0), rel=2e-3)
    assert any(line["loss"] != other["loss"] for line, other in zip(updates, plain[1:], strict=False))
    assert lab.status("scaled")["state"] == "finished"


def test_the_scale_is_resumed(lab, scaled):
    lab.run("--run-dir=straight")
    lab.kill_at(13, "killed")

    lab.run("--run-dir=killed", "--resume-from=latest")

    assert lab.weights("killed") == lab.weights("straight")
    straight, killed = (
        [line for line in lab.metrics(run) if "loss" in line] for run in ("straight", "killed")
    )
    assert straight == killed
