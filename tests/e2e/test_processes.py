from __future__ import annotations

import pytest

pytestmark = [pytest.mark.e2e]

NO_DROPOUT = "model.dropout=0.0"


def test_two_processes_show_the_same_windows_and_reach_the_same_losses(lab):
    lab.run("--run-dir=one", NO_DROPOUT)
    lab.run("--run-dir=two", NO_DROPOUT, processes=2)

    one, two = lab.metrics("one"), lab.metrics("two")

    assert len(one) == len(two) > 24
    for alone, together in zip(one, two, strict=True):
        assert alone.keys() == together.keys()
        exact = {"update", "tokens", "words", "bytes", "documents", "epoch", "learning_rate"}
        assert {key: alone[key] for key in exact & alone.keys()} == {
            key: together[key] for key in exact & alone.keys()
        }
        assert together == pytest.approx(alone, rel=1e-5)


def test_two_processes_resume_as_if_never_stopped(lab):
    lab.run("--run-dir=straight", processes=2)
    lab.kill_at(13, "killed", processes=2)

    lab.run("--run-dir=killed", "--resume-from=latest", processes=2)

    assert lab.weights("killed") == lab.weights("straight")
    assert lab.metrics("killed") == lab.metrics("straight")


def test_a_run_goes_on_with_another_number_of_processes(lab):
    lab.run("--run-dir=straight", NO_DROPOUT)
    lab.kill_at(13, "moved", NO_DROPOUT)

    lab.run("--run-dir=moved", "--resume-from=latest", NO_DROPOUT, processes=2)

    for alone, moved in zip(lab.metrics("straight"), lab.metrics("moved"), strict=True):
        assert moved == pytest.approx(alone, rel=1e-5)
