"""Whether a process was started again: by its launcher's count, or by the run's record of its launch."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_foundry.launching.restarts import was_restarted
from model_foundry.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path)


def test_a_launcher_counts_its_restarts(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    assert not was_restarted(run)

    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert was_restarted(run)


@pytest.mark.parametrize(
    ("launch", "checkpoint", "expected"),
    [
        ("slurm-1-0", "checkpoint-5", True),
        ("slurm-1-0", None, False),  # begun by a faster process of the same attempt
        ("slurm-0-0", "checkpoint-5", False),  # another job's run
    ],
)
def test_on_several_machines_a_checkpoint_of_the_same_launch_says_so(
    launch: str, checkpoint: str | None, expected: bool, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MODEL_FOUNDRY_LAUNCH", "slurm-1-0")
    run.set_status("running", launch=launch, **({"last_good_checkpoint": checkpoint} if checkpoint else {}))

    assert was_restarted(run) is expected


def test_a_launch_without_a_name_goes_by_the_count_alone(run: RunDirectory, monkeypatch: pytest.MonkeyPatch):
    from model_foundry.run_directory import launch_identity

    monkeypatch.delenv("MODEL_FOUNDRY_LAUNCH", raising=False)
    run.set_status("running", launch=launch_identity(), last_good_checkpoint="checkpoint-5")

    assert not was_restarted(run)
