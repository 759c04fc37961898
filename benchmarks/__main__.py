"""All benchmarks with one command, into one file of results, and the page made from it: ``make benchmark``.

    python -m benchmarks [--quick] [--parts training phases ...] [--blimp FOLDER] [--texts PATTERN ...]
                         [--nanogpt FOLDER] [--litgpt PYTHON] [--allocator PATH]

A whole run takes some hours on two cores; ``--quick`` some minutes, for daily use, into a folder of its own.
What needs something that is not there (BLiMP's files, nanoGPT, tcmalloc) is left out with its reason.
Nothing is fetched.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import page, training
from benchmarks.records import RESULTS, Records, read
from benchmarks.training import environment

BESIDE = ("ours", "bare_loop", "hf_trainer", "accelerate_example")
BEST = (
    "ours+tcmalloc",
    "ours+compile+tcmalloc",
    "hf_trainer+fused+tanh+tcmalloc",
    "hf_trainer+compile+fused+tanh+tcmalloc",
)
NANOGPT = ("nanogpt+compile+tcmalloc", "nanogpt+compile")
PROCESSES = ("ours", "ours+processes2")


def train(options: argparse.Namespace, records: Records) -> None:
    """Everything about training; each call is a session of its own in the same file."""
    common = [f"--into={records.path}", f"--work={options.work}", f"--threads={options.threads}"]
    for name in ("nanogpt", "litgpt", "allocator"):
        if getattr(options, name):
            common.append(f"--{name}={getattr(options, name)}")
    if options.quick:
        training.main([*common, "--rounds=1", "--sizes=small", "--updates=8", "--systems", *BESIDE])
        return
    for size in ("small", "medium"):
        for precision in ("bf16", "fp32"):
            peers = NANOGPT if precision == "fp32" else ()
            for arms in (BESIDE, (*BEST, *peers), PROCESSES):
                training.main([*common, f"--sizes={size}", f"--precision={precision}", "--systems", *arms])


def command(options: argparse.Namespace, *arguments: str) -> Any:
    """Return what a benchmark prints as JSON.

    Raises:
        RuntimeError: When it prints none.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env=environment(options.work, options.threads),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    begin = done.stdout.find("{")
    if begin < 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with status {done.returncode}")
    return json.loads(done.stdout[begin:])


def overhead(options: argparse.Namespace) -> Any:
    """Start-up, and updates beside a bare loop in one process."""
    return command(options, "benchmarks.overhead", *(["--quick"] if options.quick else []))


def phases(options: argparse.Namespace) -> Any:
    """Where an update's time goes."""
    length = ["--updates=10", "--turns=1"] if options.quick else ["--updates=30", "--turns=5"]
    return command(options, "benchmarks.phases", *length)


def resume(options: argparse.Namespace) -> Any:
    """Resuming by position."""
    few = ["--windows=4000", "--rounds=1"] if options.quick else []
    return command(options, "benchmarks.resume", f"--threads={options.threads}", *few)


def checkpoints(options: argparse.Namespace) -> Any:
    """Cost and stall of checkpoints."""
    folder = f"--folder={options.work}"
    return command(options, "benchmarks.checkpoints", folder, f"--turns={3 if options.quick else 9}")


def evaluation(options: argparse.Namespace) -> Any:
    """Items a second beside lm-eval and minicons, or the reason why not."""
    missing = [name for name in ("lm_eval", "minicons") if importlib.util.find_spec(name) is None]
    if options.blimp is None:
        return "BLiMP's files are not shipped with this: name their folder with --blimp"
    if missing:
        return f"{missing[0]} is not installed (benchmarks/requirements.txt has it)"
    few = ["--items=90", "--rounds=1", "--size=demo"] if options.quick else ["--rounds=5"]
    found = [f"--blimp={options.blimp}", f"--peers={sys.executable}", f"--threads={options.threads}"]
    return command(options, "benchmarks.evaluation", *found, *few)


def corpus(options: argparse.Namespace) -> Any:
    """Text to tokens, with texts of the reader's or invented words."""
    from benchmarks import corpus as bench
    from benchmarks.overhead import write_text
    from model_foundry.tokenizer.byte_bpe import ByteBpe

    megabytes = 5 if options.quick else 105
    with tempfile.TemporaryDirectory(dir=options.work) as name:
        folder = Path(name)
        (folder / "tokenizer").mkdir()
        texts = options.texts
        if not texts:
            write_text(folder)
            texts = [str(folder / "text.txt")]
        bench.make(folder / "corpus.jsonl", megabytes, texts)
        lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
        some = (json.loads(line)["text"] for line in lines[: len(lines) // 4 or 1])
        ByteBpe(vocab_size=32_000 if options.texts else 8_192).write(folder / "tokenizer", some, [])
        ways: dict[str, list[Any]] = {"run_clm": [], "ours": [], "tokenizers": []}
        turns = 1 if options.quick else 3
        for _ in range(turns):
            for way, found in ways.items():
                found.append(
                    bench.measure(way, folder / "corpus.jsonl", folder / "tokenizer", sys.executable)
                )
    text = "the texts that were named" if options.texts else "invented words"
    return {"megabytes": megabytes, "text": text, "turns": turns, "ways": ways}


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "overhead": overhead,
    "phases": phases,
    "resume": resume,
    "checkpoints": checkpoints,
    "evaluation": evaluation,
    "corpus": corpus,
}


def take(part: str, options: argparse.Namespace, records: Records) -> None:
    """Measure a part and add its line: a result, why it was left out, or how it failed."""
    print(f"{part} ...", flush=True)
    try:
        found = PARTS[part](options)
    except (RuntimeError, subprocess.CalledProcessError) as error:
        records.add(part, failed=str(error))
        print(f"{part}: failed: {error}", file=sys.stderr)
        return
    if isinstance(found, str):
        print(f"{part}: left out: {found}")
        records.add(part, skipped=found)
    else:
        records.add(part, result=found)


def main() -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="a few minutes; results and page go to runs/benchmarks/quick")
    add("--parts", nargs="+", choices=["training", *PARTS], default=["training", *PARTS])
    add("--blimp", type=Path, metavar="FOLDER", help="BLiMP's .jsonl files, for evaluation")
    add("--texts", nargs="+", metavar="PATTERN", help="texts for corpus (default: invented words)")
    add("--nanogpt", metavar="FOLDER", help="a clone of nanoGPT that you fetched")
    add("--litgpt", metavar="PYTHON", help="an interpreter that has litgpt")
    add("--allocator", metavar="PATH", help="tcmalloc's library (default: looked for)")
    add("--threads", type=int, default=training.cores())
    add("--into", type=Path, help=f"file of results (default: {RESULTS})")
    add("--page", type=Path, help="folder of the page (default: docs)")
    options = parser.parse_args()
    home = RESULTS.parent / "quick" if options.quick else RESULTS.parent
    options.work = (RESULTS.parent / "work").resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    records = Records(options.into or home / RESULTS.name)
    records.begin(command="all", threads=options.threads)
    for part in options.parts:
        if part == "training":
            train(options, records)
        else:
            take(part, options, records)
    folder = options.page or (home if options.quick else Path("docs"))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "benchmarks.md"
    file.write_text(page.page(read(records.path), folder), encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
