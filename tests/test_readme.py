"""The README can be followed as it is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks, follow

README = ROOT / "README.md"


@pytest.mark.slow
@pytest.mark.e2e
def test_what_the_readme_says_can_be_done_in_its_order(tmp_path: Path):
    printed = follow(README, tmp_path, timeout=280)

    status = json.loads((tmp_path / "runs/mine/status.json").read_text())
    assert (status["state"], status["update"]) == ("finished", 60)
    assert "did you mean" in printed.lower()
    assert "5 updates," in printed
    assert "update 30 of 60: 16 windows" in printed
    assert "bit-identical: " in printed


def test_the_readme_has_blocks_to_run_and_files_to_write():
    found = list(blocks(README))

    assert [block.path for block in found if block.path] == ["mine.yaml", "load.py", "train.py"]
    assert sum(len(block.commands) for block in found) >= 8


def test_the_readme_names_both_commands_of_the_makefile_on_its_first_screen():
    first = README.read_text(encoding="utf-8").splitlines()[:12]

    assert any("make demo" in line for line in first)
    assert any("make test" in line for line in first)
