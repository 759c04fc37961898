from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e]


def test_a_killed_run_that_is_resumed_ends_as_the_one_that_was_never_stopped(lab):
    lab.run("--run-dir=straight")
    lab.kill_at(13, "killed")

    output = lab.run("--run-dir=killed", "--resume-from=latest")

    assert "resumed from checkpoint-10" in output
    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")
    assert lab.status("killed")["state"] == "finished"


def test_a_run_killed_before_its_first_checkpoint_begins_again(lab):
    process = lab.start("--run-dir=early")
    while not (lab.folder / "early" / "recipe.yaml").exists():
        assert process.poll() is None
    process.kill()
    process.communicate()

    lab.run("--run-dir=early", "--resume-from=latest")
    lab.run("--run-dir=straight")

    assert lab.weights("early") == lab.weights("straight")
