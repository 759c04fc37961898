"""``--profile``: a trace of the updates that were asked for, and of no others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from model_foundry.errors import RecipeError
from model_foundry.training.phases import PHASES
from model_foundry.training.profiling import Profiling
from tests.lab import Lab


@pytest.mark.parametrize("asked", ["3", "3..5", "5..4", "9..12", "soon", "-4", "4.."])
def test_updates_that_are_not_to_come_are_refused(asked: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as error:
        Profiling(tmp_path, asked, left=range(4, 10), rank=0, now=lambda: 4, tell=print)

    assert str(error.value) == (
        f"--profile {asked}: expected updates that are still to come, such as 4, up to 9, or two of them: "
        "10..12. Name some of these, or leave it out."
    )


def test_the_updates_asked_for_are_traced_with_their_phases_and_nothing_else_changes(lab: Lab) -> None:
    short = ("training.duration=5 updates", "schedule.warmup=1 updates")
    lab.run("--run-dir=plain", *short)
    output = lab.run("--run-dir=traced", *short, "--profile=2..3")

    [file] = (lab.folder / "traced" / "profile").iterdir()
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    names = [event["name"] for event in events if event.get("cat") == "user_annotation"]
    assert file.name == "updates-2-3.rank0.json.gz"
    assert str(file.name) in output
    assert [name for name in names if name.startswith("update ")] == ["update 2", "update 3"]
    assert set(PHASES) <= set(names)
    assert any(event["name"] == "aten::embedding" for event in events)
    assert not (lab.folder / "plain" / "profile").exists()
    assert lab.weights("traced", 5) == lab.weights("plain", 5)


def test_what_was_traced_is_kept_when_a_run_ends_before_the_last_of_it(tmp_path: Path) -> None:
    said: list[str] = []
    folder, left = tmp_path / "profile", range(4, 10)
    profiling = Profiling(folder, "4..9", left=left, rank=1, now=lambda: 4, tell=said.append)

    profiling("other")
    profiling("forward")
    profiling.close()
    profiling.close()

    assert (tmp_path / "profile" / "updates-4-9.rank1.json.gz").is_file()
    assert len(said) == 1
