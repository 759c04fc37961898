"""A probe: the first updates of the real run in a process of its own, timed part by part and thrown away.

It is the run's own loop, with its evaluation and its checkpoint before the first update, in a folder that is
removed. Trackers, mirrors and reports stay silent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from model_foundry.errors import ModelFoundryError
from model_foundry.planning.timing import Probe

if TYPE_CHECKING:
    from model_foundry.config.load import LoadedRecipe

NOT_INHERITED = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MODEL_FOUNDRY_FAILPOINT"}


def probe_run(
    recipe: LoadedRecipe,
    seconds: float,
    say: Callable[[str], None],
    *,
    smoke: bool = False,
    allow_custom_code: bool = False,
) -> Probe:
    """Return what the beginning of the run took.

    Args:
        recipe: Whose corpus is in the cache.
        seconds: How long updates are taken, at least three after the first.
        say: Is told what is going on.
        smoke: Whether the recipe was loaded at its small size.
        allow_custom_code: Whether the recipe may import modules of the user's.

    Raises:
        ModelFoundryError: When the run fails, with its message.
    """
    say(f"probe: evaluation, checkpoint and about {seconds:.0f} s of updates ...")
    with tempfile.TemporaryDirectory(prefix="model-foundry-probe-") as name:
        answer = Path(name) / "answer.json"
        request = {
            "recipe": str(recipe.path),
            "overrides": list(recipe.overrides),
            "smoke": smoke,
            "allow_custom_code": allow_custom_code,
            "seconds": seconds,
            "folder": str(Path(name) / "run"),
            "answer": str(answer),
            "began": time.time(),
        }
        done = subprocess.run(
            [sys.executable, "-m", "model_foundry.planning.probing"],
            input=json.dumps(request),
            env={key: value for key, value in os.environ.items() if key not in NOT_INHERITED},
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not answer.is_file():
            words = (done.stderr or done.stdout).strip().splitlines()
            raise ModelFoundryError(
                f"--probe: the updates failed: {words[-1] if words else 'nothing was said'}"
            )
        return Probe(**json.loads(answer.read_text(encoding="utf-8")))
