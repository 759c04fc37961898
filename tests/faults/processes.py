"""Runs that are never stopped, to compare with; and the processes of a run, none of which may stay."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.lab import RECIPE, Lab
from tests.texts import write_texts

LEFT_SECONDS = 5.0


class Straight:
    """The lab's recipe, run to its end without any fault: once for each number of processes and arguments."""

    def __init__(self, folder: Path) -> None:
        write_texts(folder / "texts", documents=30, words=60)
        (folder / "recipe.yaml").write_text(RECIPE)
        self.lab = Lab(folder)
        self._done: dict[tuple[str, ...], str] = {}

    def run(self, *arguments: str, processes: int = 1, failpoint: str = "") -> str:
        key = (*arguments, str(processes), failpoint)
        if key not in self._done:
            name = f"run-{len(self._done)}"
            status, output = self.lab.ends(
                f"--run-dir={name}", *arguments, processes=processes, failpoint=failpoint
            )
            assert status == 0, output
            self._done[key] = name
        return self._done[key]

    def must_equal(
        self, lab: Lab, run: str, *arguments: str, processes: int = 1, failpoint: str = ""
    ) -> None:
        """Compare a run of another lab with the unbroken one, byte for byte and line for line."""
        name = self.run(*arguments, processes=processes, failpoint=failpoint)
        assert lab.weights(run) == self.lab.weights(name)
        assert lab.metrics(run) == self.lab.metrics(name)


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def wait_for_update(lab: Lab, run: str, update: int) -> None:
    """Return when a run has logged an update; fail at once when it ended before."""

    def is_there() -> bool:
        has_begun = (lab.folder / run / "status.json").exists()
        assert not has_begun or lab.status(run)["state"] == "running", lab.status(run)
        return any(line["update"] >= update for line in lab.metrics(run))

    wait_until(is_there)


def events(lab: Lab, run: str, kind: str) -> list[dict[str, object]]:
    lines = map(json.loads, (lab.folder / run / "events.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


def must_be_gone(processes: list[psutil.Process]) -> None:
    """None of the processes may run 5 seconds from now; one whose parent does not collect it is gone, too."""

    def left() -> list[psutil.Process]:
        found = []
        for process in processes:
            try:
                if process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
        return found

    deadline = time.monotonic() + LEFT_SECONDS
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left()
