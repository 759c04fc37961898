"""What ``model-foundry plan`` says beside what runs take: peak memory and time, in turns.

    python -m benchmarks.plan RECIPE [a.b=c ...] --into FILE [--rounds 1] [--probe-seconds 10]
    python -m benchmarks.plan --table FILE

A round plans with a probe, then trains the recipe to its end in a process of its own; a line is added to
FILE for each. Shorten the run with training.duration. The table has the median of the measured figures of a
recipe, and how far the plan was from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch


def planned(recipe: list[str], probe_seconds: float) -> dict[str, Any]:
    """Return the plan of a recipe, with a probe."""
    command = [sys.executable, "-m", "model_foundry", "plan", *recipe, "--json", "--probe"]
    command += [f"--probe-seconds={probe_seconds}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trained(recipe: list[str]) -> tuple[float, int]:
    """Train in a folder that is thrown away; return the seconds of the process and its peak memory."""
    with tempfile.TemporaryDirectory(prefix="model-foundry-benchmark-") as folder:
        command = [sys.executable, "-m", "model_foundry.train", *recipe, f"--run-dir={folder}/run"]
        began = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
    return seconds, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def compare(recipe: list[str], probe_seconds: float) -> dict[str, Any]:
    """Return one round."""
    plan = planned(recipe, probe_seconds)
    seconds, peak = trained(recipe)
    return {
        "recipe": recipe,
        "threads": torch.get_num_threads(),
        "planned_bytes": plan["memory"]["bytes"],
        "planned_seconds": plan["times"][0]["seconds"],
        "seconds": seconds,
        "bytes": peak,
    }


def table(lines: list[dict[str, Any]]) -> list[str]:
    """Return a row of Markdown for each recipe."""
    rows = [
        "| recipe | rounds | memory, planned | measured, median | off | time, planned, median "
        "| measured, median (lowest, highest) | off, farthest plan |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for recipe in dict.fromkeys(tuple(line["recipe"]) for line in lines):
        mine = [line for line in lines if tuple(line["recipe"]) == recipe]
        memory, peak = (statistics.median(line[key] for line in mine) for key in ("planned_bytes", "bytes"))
        took = [line["seconds"] for line in mine]
        plans = [line["planned_seconds"] for line in mine]
        median = statistics.median(took)
        farthest = max((plan / median - 1 for plan in plans), key=abs)
        rows.append(
            f"| {recipe[0]} | {len(mine)} | {memory / 1e6:,.0f} MB | {peak / 1e6:,.0f} MB "
            f"| {memory / peak - 1:+.1%} | {statistics.median(plans):.1f} s "
            f"| {median:.1f} s ({min(took):.1f}, {max(took):.1f}) | {farthest:+.1%} |"
        )
    return rows


def main() -> None:
    """Measure some rounds, or show what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="*", help="a recipe, and values that replace its own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--probe-seconds", type=float, default=10.0)
    parser.add_argument("--into", type=Path, help="file to which a line is added for each round")
    parser.add_argument("--table", type=Path, help="show the table of such a file")
    options = parser.parse_intermixed_args()
    if options.table is not None:
        print("\n".join(table([json.loads(line) for line in options.table.read_text().splitlines()])))
        return
    for _ in range(options.rounds):
        line = json.dumps(compare(options.recipe, options.probe_seconds))
        print(line, flush=True)
        if options.into is not None:
            with options.into.open("a") as file:
                file.write(f"{line}\n")


if __name__ == "__main__":
    main()
