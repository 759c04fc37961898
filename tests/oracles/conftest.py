"""Other people's programs as oracles, in an environment of their own: their pins need not fit ours.

``MODEL_FOUNDRY_ORACLES`` names its Python, with lm-eval, minicons and what this package needs:

    python -m venv oracles && oracles/bin/pip install . lm-eval==0.4.13 minicons==0.3.39
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PYTHON = "MODEL_FOUNDRY_ORACLES"

ROOT = Path(__file__).parent.parent.parent
"""Of this package, for scripts that import it in the oracles' Python."""

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def ask() -> Ask:
    """A function that runs a script of this folder in the oracles' Python and returns the JSON it prints."""
    python = os.environ.get(PYTHON)
    if not python:
        pytest.skip(f"{PYTHON} is not set: no Python with lm-eval and minicons")

    def run(script: str, *arguments: object, imports: Path | None = None) -> Any:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            **({"PYTHONPATH": str(imports)} if imports else {}),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
        }
        done = subprocess.run(
            [python, str(Path(__file__).parent / script), *map(str, arguments)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
