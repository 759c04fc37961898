"""The parts of a smoke job that are no training: ``python -m model_foundry.launching.smoke``.

``all-reduce``, under a launcher: every process adds its number to those of the others, and the time of a
large one is told. ``compare RUN``: the updates that a smoke job did twice must have had the same losses.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_foundry.errors import ModelFoundryError

_NUMBERS = 16 * 2**20
_TIMES = 5
_SECONDS = 300.0
_TOLERANCE = 1e-2
"""Relative difference of losses after a resume that kernels without a fixed order explain, in bf16."""


def all_reduce() -> None:
    """Add up over all processes, and say how fast that was.

    Raises:
        ModelFoundryError: When the sum is not what it must be.
    """
    import torch

    from model_foundry.training.accelerator import build_accelerator

    accelerator = build_accelerator("fp32", timeout_seconds=_SECONDS)
    processes, rank = accelerator.num_processes, accelerator.process_index
    values = torch.full((_NUMBERS,), float(rank + 1), device=accelerator.device)
    found = accelerator.reduce(values, "sum")
    expected = processes * (processes + 1) / 2
    if not bool((found == expected).all()):
        raise ModelFoundryError(
            f"all-reduce: rank {rank} got {found.min():g} to {found.max():g}, expected {expected:g}"
        )
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_TIMES):
        accelerator.reduce(values, "sum")
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - began) / _TIMES
    if accelerator.is_main_process:
        size = 4 * _NUMBERS
        print(
            f"all-reduce of {size / 2**20:.0f} MiB over {processes} processes: exact, "
            f"{size / seconds / 1e9:.2f} GB/s",
            flush=True,
        )
    accelerator.wait_for_everyone()


def compare(run: Path) -> str:
    """Return how near the losses after a resume are to those of the first time.

    Args:
        run: The smoke job's run; ``metrics.first.jsonl`` has the first time.

    Raises:
        ModelFoundryError: When one differs, or when nothing was done twice.
    """
    first, second = (_losses(run / name) for name in ("metrics.first.jsonl", "metrics.jsonl"))
    half = max(second, default=0) // 2
    twice = [update for update in second if update > half and update in first]
    if not twice:
        raise ModelFoundryError(f"{run}: no update was done twice, so nothing is known about resuming")
    if all(first[update] == second[update] for update in twice):
        return f"resumed: {len(twice)} updates have the same loss, to the last bit"
    shares = {update: _difference(first[update], second[update]) for update in twice}
    worst = max(shares, key=shares.__getitem__)
    share = shares[worst]
    text = f"update {worst} has loss {second[worst]:.6f}, {first[worst]:.6f} before the resume ({share:.1e})"
    if share > _TOLERANCE:
        raise ModelFoundryError(f"{run}: {text}; expected less than {_TOLERANCE:g}")
    return f"resumed: nearly the same losses; at most, {text}"


def _difference(first: float, second: float) -> float:
    """Return the relative difference; infinity where a loss is no number."""
    share = abs(first - second) / abs(first)
    return share if math.isfinite(share) else math.inf


def _losses(path: Path) -> dict[int, float]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["update"]: line["loss"] for line in lines if "loss" in line}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m model_foundry.launching.smoke", allow_abbrev=False)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("all-reduce")
    verbs.add_parser("compare").add_argument("run", type=Path)
    options = parser.parse_args(arguments)
    status = 0
    try:
        if options.verb == "compare":
            print(compare(options.run), flush=True)
        else:
            all_reduce()
    except ModelFoundryError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        status = error.exit_status
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # a gloo process may abort while Python shuts down


if __name__ == "__main__":
    main()
