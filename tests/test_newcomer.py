"""A newcomer's first hour, from a fresh clone: what is committed is enough, and the tutorial is right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, follow


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What somebody gets who clones this repository now; what was never committed is missing there."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is nothing to clone")
    target = tmp_path / "clone"
    settings = tmp_path / "gitconfig"
    settings.write_text("[safe]\n\tdirectory = *\n")  # CI may run as another user than the owner
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", ROOT.as_uri(), str(target)],
        check=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": str(settings)},
    )
    return target


@pytest.mark.slow
@pytest.mark.e2e
def test_the_tutorial_can_be_followed_from_a_fresh_clone(clone: Path, tmp_path: Path):
    folder = tmp_path / "work"
    folder.mkdir()

    printed = follow(clone / "docs" / "tutorial" / "first_run.md", folder, timeout=280, root=clone)

    status = json.loads((folder / "runs/pages/status.json").read_text())
    assert (status["state"], status["update"], status["bit_exact"]) == ("finished", 300, True)
    lines = (folder / "runs/pages/events.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    assert [event for event in events if event in ("start", "preempted", "resume", "finish")] == [
        "start",
        "preempted",
        "resume",
        "finish",
    ]
    environment = json.loads((folder / "runs/pages/environment.json").read_text())
    assert environment["package_git"]["commit"] == head(clone)
    for said in (
        "pages.yaml: no problems; run pages",
        "a plan; nothing is trained",
        "Did you mean 'batch_size'?",
        "exit status 75",
        "resumed from checkpoint-",
        "bit-identical: ",
        "update 150 of 300: 16 windows",
        "optimizer.learning_rate: 0.002 | 0.0005",
        "perplexity bits_per_byte: ",
    ):
        assert said in printed, said
    assert "<svg" in (folder / "runs/pages/report.html").read_text()


def head(checkout: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()
