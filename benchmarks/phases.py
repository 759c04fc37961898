"""Where the time of updates goes, and what a setting changes: tokens a second, phases, peak memory.

    python -m benchmarks.phases [SETTING ...] [--precision bf16|fp32] [--updates N] [--turns N]

Trains the model ``small`` (GPT-2-style, 4 layers, width 256, vocabulary 8,192, 16 windows of 256 tokens).
Each SETTING, such as ``training.compile=regions``, is an arm; without one there is a plain arm. Arms take
turns, each turn in a process of its own; medians over the updates of a turn, then over the turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.overhead import recipe, write_text
from benchmarks.sizes import SIZES
from model_foundry.training.phases import PHASES

SMALL = SIZES["small"]
_FIRST = 3
"""Updates that are left out: they compile, and take memory for the first time."""


def turn(folder: Path, run: Path, settings: list[str]) -> dict[str, float]:
    """Train once in a process of its own, and return its medians and the seconds of its first update."""
    command = [sys.executable, "-m", "model_foundry.train", str(folder / "recipe.yaml")]
    subprocess.run(
        [*command, f"--run-dir={run}", *settings],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "MODEL_FOUNDRY_CACHE": str(folder / "cache")},
    )
    lines: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").open()]
    later = lines[_FIRST:]
    seconds = {phase: statistics.median(line[f"{phase}_seconds"] for line in later) for phase in PHASES}
    return {
        "tokens_per_second": statistics.median(line["tokens_per_second"] for line in later),
        "peak_megabytes": lines[-1]["peak_memory_bytes"] / 1e6,
        "first_update_seconds": sum(lines[0][f"{phase}_seconds"] for phase in PHASES),
        **{f"{phase}_percent": 100 * took / sum(seconds.values()) for phase, took in seconds.items()},
    }


def main() -> None:
    """Measure and print one JSON object, an entry an arm."""
    parser = argparse.ArgumentParser(description="Phases, speed and memory of updates.")
    parser.add_argument("settings", nargs="*", default=["seed=1"])
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    asked = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {setting: [] for setting in asked.settings}
    always = [f"training.precision={asked.precision}", f"training.duration={asked.updates} updates"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_text(folder)
        (folder / "recipe.yaml").write_text(recipe(SMALL, folder))
        for number in range(asked.turns):
            for arm, setting in enumerate(asked.settings):
                run = folder / f"run-{number}-{arm}"
                found[setting].append(turn(folder, run, [*always, "logging.every=1 updates", setting]))
    medians = {
        setting: {key: round(statistics.median(turn[key] for turn in turns), 3) for key in turns[0]}
        for setting, turns in found.items()
    }
    print(json.dumps(medians, indent=2))


if __name__ == "__main__":
    main()
