"""What happens to a run is seen on the screen and in ``events.jsonl``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import model_foundry
from model_foundry.running.announcing import TOLD_OTHERWISE, in_words
from tests.lab import Lab

PACKAGE = Path(model_foundry.__file__).parent
POLICY = "training.on_nonfinite=skip 3"


def events(lab: Lab, run: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for line in (lab.folder / run / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        found.setdefault(event["event"], []).append(event)
    return found


@pytest.mark.e2e
def test_every_event_of_a_run_is_on_the_screen_and_in_its_file(lab: Lab, monkeypatch: pytest.MonkeyPatch):
    # The run is a fork of this process, so it is watched for as short a while.
    monkeypatch.setattr("model_foundry.training.waiting.STRETCH_SECONDS", 0.1)
    milestones = "checkpoints.schedule=[{type: every, interval: 8 updates}]"
    failpoint = "nonfinite.loss.7=on,batch=sleep:0.03,update.22=signal:SIGTERM"

    status, screen = lab.ends("--run-dir=run", POLICY, milestones, failpoint=failpoint)

    assert status == 75
    told = events(lab, "run")
    assert {"start", "slow_data", "non_finite", "checkpoint", "retention", "preempted"} <= set(told)
    assert re.search(
        r"slow data: updates waited \d+% of the last \d+ s .*data.workers is 0.*Raise it to 2", screen
    )
    assert "not finite: the loss or the gradient of update 7 (loss nan nats" in screen
    assert "  checkpoint-8 is saved\n" in screen
    assert "  checkpoint-8 keeps its weights alone from now on (checkpoints.keep_resumable: 2)\n" in screen
    assert "  checkpoint-5 was removed (checkpoints.keep_resumable: 2)\n" in screen
    assert "SIGTERM: saving after this update, then leaving; a second signal ends the run at once\n" in screen
    assert re.search(r"^update 1/24  \S+ tok  loss .* ckpt 5$", screen, re.MULTILINE)

    (lab.folder / "run/checkpoints/checkpoint-22/model.safetensors").write_bytes(b"torn")
    screen = lab.ends("--run-dir=run", POLICY, milestones, "--resume-from=latest")[1]

    assert "checkpoint-22 is passed over: model.safetensors has 4 bytes" in screen
    assert "resumed from checkpoint-20" in screen
    [passed_over] = events(lab, "run")["checkpoint_passed_over"]
    assert passed_over["name"] == "checkpoint-22"
    assert events(lab, "run")["resume"][0]["checkpoint"] == "checkpoint-20"


def test_every_kind_of_event_has_words_or_is_told_in_another_way():
    sources = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    kinds = set(re.findall(r"(?:[._]event|[._]tell|\btell)\(\s*\"(\w+)\"", sources))

    assert {"resume", "slow_data", "retention", "tracker_failed", "mirrored"} <= kinds
    facts = dict.fromkeys(("name", "to", "checkpoint", "resumable", "what", "keep_resumable"), "x")
    facts |= dict.fromkeys(("update", "loss_nats", "grad_norm", "policy"), "x")
    numbers = {"workers": 0, "share": 0.3, "seconds": 10.0}
    assert [kind for kind in sorted(kinds) if not in_words(kind, facts | numbers)] == sorted(
        kinds & set(TOLD_OTHERWISE)
    )
    assert not [kind for kind in TOLD_OTHERWISE if in_words(kind, facts | numbers)]
