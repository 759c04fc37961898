"""TensorBoard for real: what its own reader finds in the files of a run."""

from __future__ import annotations

import json

import pytest

from tests.lab import Lab

TRACKED = ("tracking=[tensorboard]", "samples=null")


def scalars(lab: Lab, run: str, tag: str) -> list[tuple[int, float]]:
    """Return what TensorBoard would show of ``tag``: updates and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(lab.folder / run / "tensorboard"))
    found.Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of tensorboard's own reader
def test_shows_every_line_once_after_a_stop_and_a_resume(lab: Lab):
    lab.kill_at(13, "run", *TRACKED)
    lab.run("--run-dir=run", "--resume-from=latest", *TRACKED)

    for tag in ("loss", "perplexity/loss"):
        lines = [line for line in lab.metrics("run") if tag in line]
        shown = scalars(lab, "run", tag)
        assert [update for update, _ in shown] == [line["update"] for line in lines]
        assert [value for _, value in shown] == pytest.approx([line[tag] for line in lines])
    events = (lab.folder / "run" / "events.jsonl").read_text().splitlines()
    assert "tracker_failed" not in {json.loads(line)["event"] for line in events}
