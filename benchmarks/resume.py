"""How long it takes to go on from a checkpoint, by where in an epoch it stands.

    python -m benchmarks.resume [--windows 160000] [--rounds 5] [--systems ours hf_trainer ...]

A tiny model, so that what is timed is finding the place: an epoch of many short windows, with checkpoints at
its beginning, after 50 % and after 90 %. Timed is from the start of the process to the first new update,
imports included. Positions take turns. Prints one JSON object: seconds a round, by system and position.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.sizes import SIZES
from benchmarks.stream import write_stream
from benchmarks.training import environment

TINY = SIZES["tiny"]
UPDATES = 20
"""Updates an epoch; a checkpoint after each tenth."""

POSITIONS = {0: 0, 50: UPDATES // 2, 90: UPDATES * 9 // 10}
"""Percent of the epoch: updates that are done there."""


class Ours:
    """The package, from a recipe of one epoch."""

    positions = POSITIONS

    def __init__(self, folder: Path, windows: int) -> None:
        self.folder = folder
        write_stream(folder / "stream", TINY["vocabulary"], windows * TINY["context"] + 1)
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(f"""\
corpus:
  sources: [{{type: nanogpt, path: {folder}/stream/train.bin, end_of_document: 0}}]
  validation: {{fraction: 0.001}}
tokenizer: {{type: pretrained, path: {folder}/stream/tokenizer}}
data: {{context: {TINY["context"]}}}
model: {{type: gpt2, layers: {TINY["layers"]}, width: {TINY["width"]}, heads: {TINY["heads"]}}}
optimizer: {{type: adamw, learning_rate: 1e-3}}
schedule: {{type: cosine, warmup: 2%, floor: 10%}}
training: {{duration: {UPDATES} updates, batch_size: {windows // UPDATES}}}
checkpoints: {{rolling: {UPDATES // 10} updates, keep_resumable: {UPDATES}}}
evaluation: []
logging: {{every: 1 updates}}
""")

    def command(self, run: Path, update: int | None) -> list[str]:
        """Return what begins a run, or goes on from a checkpoint of it."""
        command = [sys.executable, "-m", "model_foundry.train", str(self.recipe), f"--run-dir={run}"]
        return command if update is None else [*command, "--resume-from=latest"]

    def cut(self, run: Path, update: int) -> None:
        """Leave what a run had when it stood at ``update``."""
        for path in (run / "checkpoints").glob("checkpoint-*"):
            if int(path.name.split("-")[1]) > update:
                shutil.rmtree(path)

    def done(self, run: Path, update: int) -> bool:
        """Whether the first update after ``update`` is written."""
        file = run / "metrics.jsonl"
        return file.exists() and f'{{"update": {update + 1},' in file.read_text(encoding="utf-8")


class HfTrainer:
    """Trainer of transformers, with map-style data."""

    positions = POSITIONS
    style = "map"

    def __init__(self, folder: Path, windows: int) -> None:
        self.folder, self.windows = folder, windows
        write_stream(folder / "stream", TINY["vocabulary"], windows * TINY["context"] + 1)

    def command(self, run: Path, update: int | None) -> list[str]:
        """Return what begins a run, or goes on from a checkpoint of it."""
        command = [sys.executable, "-m", "benchmarks.resume_hf", self.style, str(self.folder / "stream")]
        return [*command, str(run), str(self.windows // UPDATES), str(UPDATES), str(update or 0)]

    def cut(self, run: Path, update: int) -> None:
        """Every checkpoint can be named: there is nothing to take away but the mark of the last turn."""
        (run / "first-update").unlink(missing_ok=True)

    def done(self, run: Path, update: int) -> bool:
        """Whether the first new update is done."""
        return (run / "first-update").exists()


class HfTrainerIterable(HfTrainer):
    """The same with data that can only be read from its beginning."""

    style = "iterable"


SYSTEMS: dict[str, Any] = {"ours": Ours, "hf_trainer": HfTrainer, "hf_trainer_iterable": HfTrainerIterable}


def seconds(system: Any, whole: Path, update: int, folder: Path, variables: dict[str, str]) -> float:
    """Resume a copy of a run at ``update`` and return the seconds until its first new update is done.

    Raises:
        RuntimeError: When the process ends before.
    """
    run = folder / "turn"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(whole, run, symlinks=True)
    system.cut(run, update)
    if (metrics := run / "metrics.jsonl").exists():
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        metrics.write_text("".join(line for line in lines if json.loads(line)["update"] <= update))
    with (folder / "errors.txt").open("w+") as errors:
        began = time.perf_counter()
        process = subprocess.Popen(
            system.command(run, update), stdout=subprocess.DEVNULL, stderr=errors, env=variables
        )
        while not system.done(run, update):
            if process.poll() is not None and not system.done(run, update):
                errors.seek(0)
                raise RuntimeError(f"resuming at update {update} ended early:\n{errors.read()[-2000:]}")
            time.sleep(0.005)
        took = time.perf_counter() - began
        process.kill()
        process.wait()
    return took


def measure(names: list[str], windows: int, rounds: int, threads: int) -> dict[str, Any]:
    """Return the seconds of each round, by system and percent of the epoch."""
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="benchmark-") as temporary:
        for name in names:
            folder = Path(temporary) / name
            folder.mkdir()
            variables = environment(folder, threads)
            system = SYSTEMS[name](folder, windows)
            whole = folder / "whole"
            subprocess.run(system.command(whole, None), check=True, stdout=subprocess.DEVNULL, env=variables)
            found[name] = {str(percent): [] for percent in system.positions}
            for number in range(rounds + 1):
                for percent, update in system.positions.items():
                    took = seconds(system, whole, update, folder, variables)
                    if number:  # the first round warms the disk's cache
                        found[name][str(percent)].append(took)
            shutil.rmtree(folder)
    return {"windows": windows, "rounds": rounds, "threads": threads, "seconds": found}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=160_000, help="windows an epoch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", "2")))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    options = parser.parse_args()
    found = measure(options.systems, options.windows, options.rounds, options.threads)
    found["medians"] = {
        name: {percent: round(statistics.median(took), 3) for percent, took in places.items()}
        for name, places in found["seconds"].items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
