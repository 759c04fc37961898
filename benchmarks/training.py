"""Training beside other systems: tokens a second, peak memory, and time to the first update.

    python -m benchmarks.training [--sizes small medium] [--precision bf16] [--systems ARM ...] [--rounds 5]

On a CPU, whatever else is there. Every system trains the same model on the same tokens, each turn in a
process of its own; systems take turns, in the opposite order every other round. An ARM is a system with
flags, such as ``ours``, ``bare_loop``, ``hf_trainer+compile+tcmalloc`` or ``ours+optimizer.weight_decay=0``;
``--list`` shows them all. The first updates are left out of the speed. Each turn adds a line to the file of
results (``--into``), so that rounds can be spread over many short runs; ``python -m benchmarks.page`` makes
the page from it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import systems
from benchmarks.records import RESULTS, Records
from benchmarks.sizes import SIZES, UPDATES
from benchmarks.stream import write_stream
from benchmarks.systems import Request
from model_foundry.errors import RecipeError
from model_foundry.launching.allocator import find_allocator, find_tcmalloc, preloaded

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ("ours", "bare_loop", "hf_trainer", "accelerate_example")


def environment(work: Path, threads: int, request: Request | None = None, preload: Path | None = None) -> Any:
    """Return the variables of a turn: threads, caches, no network, and the allocator if it is asked for."""
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": str(max(1, threads // (request.processes if request else 1))),
        "MODEL_FOUNDRY_CACHE": str(work / "cache"),
        "TORCHINDUCTOR_CACHE_DIR": str(work / "inductor"),
        "CUDA_VISIBLE_DEVICES": "",  # the clocks here do not wait for a device
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
    }
    return preloaded(preload, found) if preload else found


def turn(arm: str, request: Request, work: Path, threads: int, library: Path | None) -> dict[str, Any]:
    """Run an arm once and return what it found, or why it did not run.

    ``tokens_per_second`` is over all updates after the first ones, from stamp to stamp: whatever a system
    does between them counts.
    """
    name, flags = systems.split_arm(arm)
    module, folder = systems.module_of(name), Path(request.folder)
    reason = module.why_not(request) if hasattr(module, "why_not") else None
    if reason is None and "tcmalloc" in flags and library is None:
        reason = "tcmalloc was not found; give its path with --allocator PATH"
    if reason:
        return {"skipped": reason}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    request.write(folder / "request.json")
    python = module.python(request) if hasattr(module, "python") else sys.executable
    several = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={request.processes}"]
    command = [python, *(several if request.processes > 1 else []), "-m", "benchmarks.systems"]
    preload = library if "tcmalloc" in flags else None
    began = time.time()
    done = subprocess.run(
        [*command, name, str(folder)],
        env=environment(work, threads, request, preload),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    result = folder / "result.json"
    if done.returncode or not result.is_file():
        return {"failed": "\n".join(done.stderr.strip().splitlines()[-15:]) or f"status {done.returncode}"}
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    shutil.rmtree(folder, ignore_errors=True)
    return {**found, "first_update_seconds": found["stamps"][0][1] - began}


def speed(stamps: Sequence[Sequence[float]], left_out: int, tokens_per_update: int) -> float:
    """Return the tokens a second after the update ``left_out``, by the stamps (updates, seconds).

    Raises:
        ValueError: Where no update is left.
    """
    kept = [stamp for stamp in stamps if stamp[0] >= left_out]
    if len(kept) < 2:
        raise ValueError(f"{len(stamps)} updates, of which the first {left_out} are left out: none is timed")
    (first, began), (last, ended) = kept[0], kept[-1]
    return (last - first) * tokens_per_update / (ended - began)


def measure(options: argparse.Namespace, records: Records) -> None:
    """Take all rounds of all sizes."""
    library = find_allocator(options.allocator) if options.allocator else find_tcmalloc()
    places = {key: value for key in ("nanogpt", "litgpt") if (value := getattr(options, key))}
    for size in options.sizes:
        updates = options.updates or UPDATES[size].taken
        left_out = min(UPDATES[size].left_out, updates - 1)
        stream, folder = options.work / f"stream-{size}", options.work / "turn"
        write_stream(stream, SIZES[size]["vocabulary"])
        facts = {"size": size, "precision": options.precision, "threads": options.threads}
        requests = {
            arm: Request(
                SIZES[size],
                options.precision,
                updates,
                systems.split_arm(arm)[1],
                str(stream),
                str(folder),
                places,
            )
            for arm in options.systems
        }
        prepare(requests, options)
        for number in range(options.rounds):
            if not options.no_peak:
                records.add("peak", round=number, **facts, **peak(size, options))
            order = options.systems if number % 2 == 0 else options.systems[::-1]
            for place, arm in enumerate(order):
                found = turn(arm, requests[arm], options.work, options.threads, library)
                line = {"arm": arm, "round": number, "place": place, **facts, **found}
                if "stamps" in found:
                    tokens = SIZES[size]["batch"] * SIZES[size]["context"]
                    line["tokens_per_second"] = speed(found["stamps"], left_out, tokens)
                    line |= {"updates": updates, "left_out": left_out, "processes": requests[arm].processes}
                records.add("training", **line)
                say(line)


def prepare(requests: dict[str, Request], options: argparse.Namespace) -> None:
    """Let each system do once what no turn shall."""
    for name in {systems.split_arm(arm)[0]: arm for arm in requests}:
        module = systems.module_of(name)
        if hasattr(module, "prepare"):
            request = next(found for arm, found in requests.items() if systems.split_arm(arm)[0] == name)
            Path(request.folder).mkdir(parents=True, exist_ok=True)
            module.prepare(request, environment(options.work, options.threads))


def peak(size: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the peak of matrix products, found in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peak", f"--precision={options.precision}", f"--size={size}"]
    variables = environment(options.work, options.threads)
    done = subprocess.run(command, env=variables, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def say(line: dict[str, Any]) -> None:
    """Show a turn."""
    begin = f"{line['size']:<7} {line['precision']}  round {line['round'] + 1}  {line['arm']:<36}"
    if "tokens_per_second" not in line:
        print(begin, "not run:", line.get("skipped") or line["failed"], flush=True)
        return
    print(
        f"{begin} {line['tokens_per_second']:>9,.0f} tokens/s  {line['peak_bytes'] / 1e6:>6,.0f} MB  "
        f"first update after {line['first_update_seconds']:.1f} s",
        flush=True,
    )


def cores() -> int:
    """Return the cores that this process may use, without second threads of a core."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(allowed, psutil.cpu_count(logical=False) or allowed)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--list", action="store_true", help="show systems and their flags")
    add("--sizes", nargs="+", choices=SIZES, default=["small"])
    add("--precision", choices=["bf16", "fp32"], default="bf16")
    add("--systems", nargs="+", metavar="ARM", default=list(DEFAULT))
    add("--rounds", type=int, default=5)
    add("--updates", type=int, help="updates a turn (default: 20 of small, 8 of medium)")
    add("--threads", type=int, default=cores(), help="threads in all (default: the cores)")
    add("--allocator", metavar="PATH", help="library for the flag tcmalloc (default: looked for)")
    add("--nanogpt", metavar="FOLDER", help="a clone of nanoGPT that you fetched, for the system nanogpt")
    add("--litgpt", metavar="PYTHON", help="an interpreter that has litgpt, for the system litgpt")
    add("--no-peak", action="store_true", help="do not measure the peak of matrix products in each round")
    add("--into", type=Path, default=RESULTS, help=f"file that lines are added to (default: {RESULTS})")
    add("--work", type=Path, default=RESULTS.parent / "work", help="folder for tokens and caches")
    add("--quick", action="store_true", help="one round; figures for daily use")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or list what there is."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if options.list:
        for name in systems.names():
            print(f"{name}: {', '.join(systems.module_of(name).FLAGS) or 'no flags'}")
        print("every system:", ", ".join(systems.COMMON_FLAGS))
        return
    try:
        for arm in options.systems:
            systems.split_arm(arm)
        if options.allocator:
            find_allocator(options.allocator)
    except (ValueError, RecipeError) as error:
        parser.error(str(error))
    options.rounds = 1 if options.quick else options.rounds
    options.work = options.work.resolve()
    records = Records(options.into)
    records.begin(command="training", threads=options.threads)
    measure(options, records)


if __name__ == "__main__":
    main()
