from __future__ import annotations

import itertools
import json

import pytest
import torch

from model_foundry.errors import DivergedError
from model_foundry.training.restoring import require_finite
from tests.faults.processes import Straight, events
from tests.lab import Lab

SKIP = "training.on_nonfinite=skip 3"
REWIND = "training.on_nonfinite=rewind 3"
POLICIES = {"stop": "training.on_nonfinite=stop", "skip": SKIP, "rewind": REWIND}
WHERE = [(1, ""), (2, "@0"), (2, "@1")]
QUICK = [("loss", "stop", 2, "@1"), ("gradient", "skip", 2, "@0"), ("loss", "rewind", 1, "")]
ALL = [
    (what, policy, processes, rank)
    for what, policy, (processes, rank) in itertools.product(("loss", "gradient"), POLICIES, WHERE)
]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Straight:
    return Straight(tmp_path_factory.mktemp("straight"))


def record(lab: Lab, run: str, update: int) -> dict[str, object]:
    path = lab.folder / run / "checkpoints" / f"checkpoint-{update}" / "trainer_state.json"
    found: dict[str, object] = json.loads(path.read_text())
    return found


def met(lab: Lab, straight: Straight, what: str, policy: str, processes: int, rank: str) -> None:
    """Let one process meet a number that is not finite in the windows of update 13, after checkpoint-10."""
    failpoint = f"nonfinite.{what}.13{rank}=on"
    status, output = lab.ends("--run-dir=run", POLICIES[policy], processes=processes, failpoint=failpoint)

    [event] = events(lab, "run", "non_finite")
    assert (event["update"], event["attempt"], event["policy"]) == (
        13,
        12,
        POLICIES[policy].partition("=")[2],
    )
    windows = event["windows"]
    assert isinstance(windows, list)
    assert [window["position"] for window in windows] == list(range(96, 104))
    assert all(window.keys() == {"position", "source", "window", "epoch"} for window in windows)
    found = lab.status("run")
    if policy == "stop":
        assert status == 4, output
        assert (found["state"], found["exit_code"], found["reason"]) == ("diverged", 4, "non_finite")
        assert "update 13: the loss or the gradient is not finite" in str(found["message"])
        assert found["last_good_checkpoint"] == "checkpoint-12"
        lab.run("--run-dir=run", "--resume-from=latest", processes=processes)
        straight.must_equal(lab, "run", processes=processes)
        return
    assert status == 0, output
    assert record(lab, "run", 24)["passed_over"] == [12]
    assert record(lab, "run", 24)["skipped_updates"] == (policy == "skip")
    # What was passed over left no trace in weights, optimizer or randomness, however it was passed over.
    skipped = f"nonfinite.loss.13{'@0' if processes == 2 else ''}=on"
    name = straight.run(SKIP, processes=processes, failpoint=skipped)
    assert lab.weights("run") == straight.lab.weights(name)
    assert [line["update"] for line in lab.metrics("run")] == [
        line["update"] for line in straight.lab.metrics(name)
    ]


@pytest.mark.parametrize(("what", "policy", "processes", "rank"), QUICK)
def test_a_number_that_is_not_finite_never_reaches_the_weights(lab, straight, what, policy, processes, rank):
    met(lab, straight, what, policy, processes, rank)


@pytest.mark.nightly
@pytest.mark.parametrize(("what", "policy", "processes", "rank"), [case for case in ALL if case not in QUICK])
def test_so_it_is_for_every_policy_on_every_rank(lab, straight, what, policy, processes, rank):
    met(lab, straight, what, policy, processes, rank)


def test_a_skipped_update_is_shown_but_neither_applied_nor_scheduled(lab, straight):
    lab.run("--run-dir=run", SKIP)
    status, output = lab.ends("--run-dir=skipped", SKIP, failpoint="nonfinite.gradient.7=on")

    assert status == 0, output
    whole, skipped = record(lab, "run", 24), record(lab, "skipped", 24)
    assert (skipped["updates"], skipped["skipped_updates"]) == (24, 1)
    assert int(str(skipped["tokens"])) == int(str(whole["tokens"])) + 128
    rates = [
        [line["learning_rate"] for line in lab.metrics(run) if "loss" in line] for run in ("run", "skipped")
    ]
    assert rates[0] == rates[1]
    assert len(rates[0]) == 24


@pytest.mark.parametrize("policy", [SKIP, REWIND])
def test_a_run_that_passed_over_windows_resumes_as_if_never_stopped(lab, straight, policy):
    failpoint = "nonfinite.loss.7=on"
    straight_name = straight.run(policy, failpoint=failpoint)
    status, output = lab.ends("--run-dir=run", policy, failpoint=f"{failpoint},update.13=kill")
    assert status == -9, output

    status, output = lab.ends("--run-dir=run", policy, "--resume-from=latest", failpoint=failpoint)

    assert status == 0, output
    assert lab.weights("run") == straight.lab.weights(straight_name)
    assert lab.metrics("run") == straight.lab.metrics(straight_name)
    assert record(lab, "run", 24)["passed_over"] == [6]
    assert len(events(lab, "run", "non_finite")) == 1


def test_a_rewound_run_shows_no_exposure_of_what_it_passed_over(lab):
    status, output = lab.ends("--run-dir=run", REWIND, failpoint="nonfinite.loss.13=on")

    assert status == 0, output
    assert [event["checkpoint"] for event in events(lab, "run", "rewind")] == ["checkpoint-10"]
    assert record(lab, "run", 24)["tokens"] == 24 * 128
    updates = [line["update"] for line in lab.metrics("run") if "loss" in line]
    assert updates == list(range(1, 25))


@pytest.mark.parametrize("action", ["skip", "rewind"])
def test_a_policy_is_followed_as_often_as_it_allows(lab, action):
    failpoint = "nonfinite.loss.7=on,nonfinite.loss.8=on,nonfinite.loss.9=on"
    status, output = lab.ends("--run-dir=run", f"training.on_nonfinite={action} 2", failpoint=failpoint)

    assert status == 4, output
    assert f"is not finite once more after '{action} 2' of training.on_nonfinite was used up" in output
    assert lab.status("run")["state"] == "diverged"
    assert [event["attempt"] for event in events(lab, "run", "non_finite")] == [6, 7, 8]


def model_and_optimizer() -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_not_saved(value):
    model, optimizer = model_and_optimizer()
    require_finite(model, [optimizer])
    with torch.no_grad():
        model.weight[1, 2] = value

    with pytest.raises(
        DivergedError, match="weight holds values that are not finite; no checkpoint of it is published"
    ):
        require_finite(model, [optimizer])


@pytest.mark.parametrize("moment", ["exp_avg", "exp_avg_sq"])
def test_moments_that_are_not_finite_are_not_saved(moment):
    model, optimizer = model_and_optimizer()
    optimizer.state[model.bias][moment][0] = float("inf")

    with pytest.raises(DivergedError, match=f"{moment} of bias holds values that are not finite"):
        require_finite(model, [optimizer])
