"""What a durable checkpoint costs beside a bare ``accelerator.save_state``, and how long training stalls.

    python -m benchmarks.checkpoints [--turns 9] [--folder PATH]

One process, a model of 30M parameters with AdamW, all ways in turns; what counts is the median of the ratios
of neighbouring turns. The bare save flushes nothing and removes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from model_foundry.digests import file_sha256
from model_foundry.manifest import MANIFEST_NAME, fsync_path, list_files, verify_manifest
from model_foundry.training.accelerator import build_accelerator
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpointing import CheckpointManager
from model_foundry.training.disk import CheckpointSizes
from model_foundry.training.restoring import require_finite
from model_foundry.training.snapshot import Snapshot
from model_foundry.training.state import TrainState

FACTS = {
    "run_id": "benchmark",
    "recipe": {},
    "world_size": 1,
    "recipe_sha256": "0",
    "tokenizer_sha256": "0",
    "data_sha256": "0",
}


def seconds(step: Callable[[], object]) -> float:
    """Return how long a step takes."""
    os.sync()  # else a flush would pay for what the way before it left unwritten
    torch.ones(2**27)  # 512 MiB, freed at once: else a virtual machine pays here for memory that it gave back
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def seconds_more(step: Callable[[], object]) -> float:
    """Return how long a step takes that goes on with what is under way."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


class Bench:
    """A model, its optimizer, and each way to save them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.accelerator = build_accelerator("fp32", timeout_seconds=600)
        config = GPT2Config(vocab_size=12_000, n_positions=256, n_embd=512, n_layer=7, n_head=8)
        self.bare_model = GPT2LMHeadModel(config)
        optimizer = torch.optim.AdamW(self.bare_model.parameters())
        self.model, self.optimizer = self.accelerator.prepare(self.bare_model, optimizer)
        ids = torch.randint(0, 12_000, (2, 32))
        self.model(ids, labels=ids).loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        for name in ("checkpoints", "tokenizer"):
            (folder / name).mkdir()
        (folder / "tokenizer" / "tokenizer.json").write_text("{}")
        self.manager = CheckpointManager(
            folder / "checkpoints",
            self.accelerator,
            tokenizer=folder / "tokenizer",
            facts=FACTS,
            keep_resumable=1,
            carried=CarriedState(self.accelerator, [], lanes=2, micro_batch_size=2),
            sizes=CheckpointSizes(4 * self.parameters, 8 * self.parameters, beside=64 * 1024),
        )
        self.updates = 0

    @property
    def parameters(self) -> int:
        """Weights of the model."""
        return sum(parameter.numel() for parameter in self.bare_model.parameters())

    def bare(self) -> float:
        """Accelerate alone, into a new folder; the one before the last is removed first, untimed."""
        folders = [self.folder / "bare", self.folder / "bare-before"]
        shutil.rmtree(folders[1], ignore_errors=True)
        if folders[0].exists():
            folders[0].rename(folders[1])
        return seconds(lambda: self.accelerator.save_state(str(folders[0])))

    def foreground(self) -> float:
        """A whole durable save: written, flushed, hashed, renamed, verified.

        The one before it is deleted; its room is given back beside training, which nobody waits for.
        """
        self.manager.close()
        return seconds(lambda: self._save(background=False))

    def background(self) -> tuple[float, float]:
        """The stall of a save in the background, and how long the whole of it takes."""
        self.manager.close()
        stall = seconds(lambda: self._save(background=True))
        return stall, stall + seconds_more(self.manager.settle)

    def _save(self, *, background: bool) -> None:
        self.updates += 1
        state = TrainState(updates=self.updates)
        flags = {"resumable": True, "milestone": False, "background": background}
        self.manager.save(state, self.bare_model, record={}, **flags)  # type: ignore[arg-type]

    def pieces(self) -> dict[str, float]:
        """Time the pieces of a save one by one, on the files of the last one."""
        (last,) = (self.folder / "checkpoints").glob("checkpoint-*")
        snapshot = Snapshot()
        copy = lambda: snapshot.take(self.accelerator, self.bare_model, resumable=True)  # noqa: E731
        copy()
        copied = self.folder / "copied"
        shutil.copytree(last, copied)
        names = list_files(copied)
        found = {
            "flush": seconds_more(lambda: [fsync_path(copied / name) for name in names]),
            "check that all is finite": seconds(
                lambda: require_finite(self.bare_model, self.accelerator._optimizers)
            ),
            "hash": seconds(lambda: [file_sha256(copied / name) for name in names]),
            "verify": seconds(lambda: verify_manifest(copied)),
            "copy to memory": seconds(copy),
        }
        assert (copied / MANIFEST_NAME).is_file()
        shutil.rmtree(copied)
        return found


def measure(bench: Bench, turns: int) -> dict[str, Any]:
    """Take turns; the first of each is not counted: it makes files and memory that later ones find."""
    bare, front, stalls, wholes = [], [], [], []
    pieces: list[dict[str, float]] = []
    for turn in range(turns + 1):
        taken = bench.bare(), bench.foreground(), bench.background(), bench.pieces()
        if turn:
            bare.append(taken[0])
            front.append(taken[1])
            stalls.append(taken[2][0])
            wholes.append(taken[2][1])
            pieces.append(taken[3])

    def ratio(values: list[float]) -> float:
        return round(statistics.median(value / one for value, one in zip(values, bare, strict=True)), 2)

    named = {"bare": bare, "foreground": front, "background stall": stalls, "background whole": wholes}
    named |= {key: [piece[key] for piece in pieces] for key in pieces[0]}
    return {
        "parameters": bench.parameters,
        "turns": turns,
        "threads": torch.get_num_threads(),
        "milliseconds": {name: round(1000 * statistics.median(values)) for name, values in named.items()},
        "foreground_to_bare": ratio(front),
        "background_stall_to_bare": ratio(stalls),
        "targets": {"foreground_to_bare": 4.0, "background_stall_to_bare": 0.5},
    }


def main() -> None:
    """Measure, print, and fail where a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--folder", type=Path, help="where to write (default: the working folder)")
    options = parser.parse_args()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=options.folder or Path.cwd()) as folder:
        found = measure(Bench(Path(folder)), options.turns)
    print(json.dumps(found, indent=1))
    missed = [name for name, most in found["targets"].items() if found[name] > most]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
