"""A tracker that fails or hangs costs the run nothing, and is told of."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from model_foundry.tracking import Service, TrackedRun, Tracker
from model_foundry.training.following import Followers, is_one_left_behind
from tests.lab import Lab

Events = list[tuple[str, dict[str, Any]]]


class Notes:
    """A service in memory."""

    identity: str | None = "n1"

    def __init__(self) -> None:
        self.values: list[tuple[dict[str, float], int]] = []
        self.is_finished = False

    def log(self, values: dict[str, float], update: int) -> None:
        self.values.append((values, update))

    def finish(self) -> None:
        self.is_finished = True


class InMemory(Tracker):
    """Opens what it is given."""

    package: ClassVar[str] = "json"
    service: ClassVar[Any] = None
    told: ClassVar[list[TrackedRun]] = []

    def open(self, run: TrackedRun) -> Service:
        self.told.append(run)
        return self.service


@pytest.fixture
def events() -> Events:
    return []


def follow(service: Any, folder: Path, events: Events, grace_seconds: float = 5.0) -> Followers:
    InMemory.service = service
    return Followers(
        [InMemory()],
        TrackedRun("tiny", "abc", folder, {}),
        lambda kind, **facts: events.append((kind, facts)),
        grace_seconds,
    )


def test_numbers_are_passed_on_in_order_and_what_is_no_finite_number_is_not(tmp_path: Path, events: Events):
    notes = Notes()
    followers = follow(notes, tmp_path, events)

    followers.log({"update": 1, "loss": 3.0, "time": 5.0, "note": "x", "grad_norm": float("inf")})
    followers.log({"update": 2, "loss": 2.0})
    followers.close()

    assert notes.values == [({"loss": 3.0}, 1), ({"loss": 2.0}, 2)]
    assert notes.is_finished
    assert events == []


def test_what_the_service_calls_the_run_is_kept_for_its_next_start(tmp_path: Path, events: Events):
    follow(Notes(), tmp_path, events).close()
    follow(Notes(), tmp_path, events).close()

    assert json.loads((tmp_path / "tracking.json").read_text()) == {InMemory.part_name(): "n1"}
    assert [run.identity for run in InMemory.told[-2:]] == [None, "n1"]


def test_one_that_fails_is_told_of_once_and_left_alone(tmp_path: Path, events: Events):
    class Failing(Notes):
        def log(self, values: dict[str, float], update: int) -> None:
            raise SystemExit("no network")

    followers = follow(Failing(), tmp_path, events)
    for update in range(5):
        followers.log({"update": update, "loss": 1.0})
        time.sleep(0.01)
    followers.close()

    [(kind, facts)] = events
    assert kind == "tracker_failed"
    assert facts["message"] == "SystemExit: no network"


def test_one_that_hangs_is_left_behind_and_lines_beyond_measure_are_dropped(tmp_path: Path, events: Events):
    released = threading.Event()

    class Hanging(Notes):
        def log(self, values: dict[str, float], update: int) -> None:
            released.wait(30)

    followers = follow(Hanging(), tmp_path, events, grace_seconds=0.1)
    for update in range(5000):
        followers.log({"update": update, "loss": 1.0})
    followers.close()

    assert is_one_left_behind()
    messages = [facts["message"] for _, facts in events]
    assert messages[0] == "it does not answer and is left behind"
    assert "lines were not shown there" in messages[1]
    released.set()


HANGS = '''
from typing import ClassVar
from model_foundry.tracking import Tracker
import time

class Hangs(Tracker):
    """Never answers."""

    package: ClassVar[str] = "json"

    def open(self, run):
        time.sleep(3600)
'''


@pytest.mark.slow
@pytest.mark.e2e
def test_a_run_with_a_tracker_that_hangs_trains_and_ends_as_without(lab: Lab):
    (lab.folder / "mine").mkdir()
    (lab.folder / "mine" / "__init__.py").write_text("")
    (lab.folder / "mine" / "hangs.py").write_text(HANGS)
    lab.environment["PYTHONPATH"] = os.pathsep.join([str(lab.folder), os.environ.get("PYTHONPATH", "")])
    hung = lab.start("--run-dir=hung2", "tracking=[{type: mine.hangs}]", "--allow-custom-code")
    output, _ = hung.communicate(timeout=120)

    assert hung.returncode == 0, output
    lab.run("--run-dir=straight")
    assert lab.weights("hung2") == lab.weights("straight")
    kinds = [
        json.loads(line)["event"] for line in (lab.folder / "hung2" / "events.jsonl").read_text().splitlines()
    ]
    assert "tracker_failed" in kinds
