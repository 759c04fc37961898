"""Runs of ``model_foundry.train`` in processes of their own, whose end is looked at and not shared."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from model_foundry.run_directory import RunDirectory
from model_foundry.training.checkpoint_files import published, updates_of

_NOT_INHERITED = {
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "MODEL_FOUNDRY_FAILPOINT",
}


def train(arguments: list[str], *, processes: int, environment: Mapping[str, str] | None = None) -> str:
    """Train in processes of their own, and return what they printed, however they ended."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    done = subprocess.run(
        [*command, "-m", "model_foundry.train", *arguments],
        env={**inherited, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout


def newest(run: RunDirectory) -> int | None:
    """Return the number of the newest checkpoint, or None where there is none."""
    return max((updates_of(path) or 0 for path in published(run.checkpoints)), default=None)


def last_words(run: RunDirectory, output: str) -> str:
    """Return why a run failed: what its status says, else the last line that it printed."""
    message = run.status().get("message")
    lines = [line for line in output.splitlines() if line.strip()]
    return str(message or (lines[-1] if lines else "it said nothing"))
