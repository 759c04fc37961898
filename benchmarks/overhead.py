"""What the package costs beside a bare PyTorch loop: tokens a second, fetching, time to the first update.

    python -m benchmarks.overhead [--quick]

Both train the same model on batches of the same shape with the same optimizer in one process, in turns;
what counts is the median of the ratios of neighbouring turns. Start-up is measured in processes of their
own, in turns as well.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import bare_loop

SIZES: dict[str, dict[str, int]] = {
    "demo": {"layers": 4, "width": 128, "heads": 4, "vocabulary": 2048, "context": 128, "batch": 16},
    "25M": {"layers": 8, "width": 448, "heads": 8, "vocabulary": 12_000, "context": 256, "batch": 8},
}


def recipe(size: dict[str, int], folder: Path) -> str:
    """Return a recipe of that size with nothing beside training."""
    return f"""\
corpus: {{sources: [{{type: text_files, path: {folder}/text.txt, document: line}}]}}
tokenizer: {{type: byte_bpe, vocab_size: {size["vocabulary"]}}}
data: {{context: {size["context"]}}}
model: {{type: gpt2, layers: {size["layers"]}, width: {size["width"]}, heads: {size["heads"]}}}
optimizer: {{type: adamw, learning_rate: 1e-3}}
schedule: {{type: cosine, warmup: 2%, floor: 10%}}
training: {{duration: 100000 updates, batch_size: {size["batch"]}}}
evaluation: []
"""


def write_text(folder: Path, words: int = 600_000) -> None:
    """Write lines of invented words, so varied that a large vocabulary can be learned from them."""
    draw = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    known = ["".join(draw.choice(letters, draw.integers(2, 9))) for _ in range(20_000)]
    frequency = 1 / np.arange(1, len(known) + 1)
    chosen = draw.choice(known, words, p=frequency / frequency.sum())
    lines = [" ".join(chosen[start : start + 30]) for start in range(0, words, 30)]
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def our_loop(size: dict[str, int], folder: Path) -> Any:
    """Return the package's own loop, ready for its first update."""
    from model_foundry.config.load import load_recipe
    from model_foundry.running.pipeline import build_loop
    from model_foundry.trainer import Trainer
    from model_foundry.training.stopping import StopRequest

    file = folder / "recipe.yaml"
    file.write_text(recipe(size, folder))
    trainer = Trainer(load_recipe(file), folder)
    trainer.run.open(resume=False)
    return build_loop(
        trainer, None, StopRequest(trainer.run.control, None), is_main=True, say=lambda text: None
    )


def random_batches(size: dict[str, int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield inputs and shifted targets that are there at once: the bare loop fetches for nothing."""
    ids = torch.randint(size["vocabulary"], (size["batch"], size["context"] + 1))
    while True:
        yield ids[:, :-1], ids[:, 1:]


def throughput(name: str, *, rounds: int, seconds: float) -> dict[str, float]:
    """Return our tokens a second over the bare loop's (medians), and the share of time spent fetching."""
    size = SIZES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_text(folder)
        loop = our_loop(size, folder)
        bare = bare_loop.build(settings_of(size))
        batches = random_batches(size)
        took = timed(lambda: loop.update())
        bare_loop.train(*bare, batches, updates=range(1), total=100_000, peak=1e-3)
        turn = max(2, round(seconds / took))
        ratios, speeds, fetching = [], [], []
        for _ in range(rounds):
            ours = timed(lambda: [loop.update() for _ in range(turn)])
            theirs = timed(
                lambda: bare_loop.train(*bare, batches, updates=range(turn), total=100_000, peak=1e-3)
            )
            fetched = timed(lambda: [next(loop.batches) for _ in range(turn)])
            ratios.append(theirs / ours)
            speeds.append(turn * size["batch"] * size["context"] / ours)
            fetching.append(fetched / ours)
        loop.close()
    parameters = sum(parameter.numel() for parameter in bare[0].parameters())
    return {
        "parameters": parameters,
        "tokens_per_second": statistics.median(speeds),
        "ratio_to_bare_loop": statistics.median(ratios),
        "lowest_ratio": min(ratios),
        "highest_ratio": max(ratios),
        "share_of_time_fetching": statistics.median(fetching),
    }


def start_up(*, rounds: int) -> dict[str, float]:
    """Return the median ratio of our time from process start to the first update to the bare script's."""
    size = SIZES["demo"]
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_text(folder, 60_000)
        (folder / "recipe.yaml").write_text(recipe(size, folder))
        np.save(folder / "tokens.npy", np.random.default_rng(0).integers(0, 2048, 100_000).astype(np.uint16))
        settings = {**settings_of(size), "tokens": str(folder / "tokens.npy"), "done": str(folder / "done")}
        (folder / "settings.json").write_text(json.dumps(settings))
        package = [sys.executable, "-m", "model_foundry.train", str(folder / "recipe.yaml"), "--run-dir"]
        script = [sys.executable, "-m", "benchmarks.bare_loop", str(folder / "settings.json")]
        for number in range(rounds + 1):  # the first round warms the corpus cache and the disk's
            run = folder / f"run-{number}"
            ours.append(until_there([*package, str(run)], run / "metrics.jsonl"))
            theirs.append(until_there(script, folder / "done"))
            (folder / "done").unlink()
    ratios = [a / b for a, b in zip(ours[1:], theirs[1:], strict=True)]
    return {
        "seconds": statistics.median(ours[1:]),
        "bare_seconds": statistics.median(theirs[1:]),
        "ratio_to_bare_script": statistics.median(ratios),
    }


def until_there(command: list[str], file: Path) -> float:
    """Start a process and return the seconds until ``file`` holds something; the process is then ended."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (file.exists() and file.stat().st_size):
        if process.poll() is not None and not file.exists():
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode} before its first update")
        time.sleep(0.002)
    took = time.perf_counter() - began
    process.kill()
    process.wait()
    return took


def settings_of(size: dict[str, int]) -> dict[str, Any]:
    """Return the same model for the bare loop."""
    model = {
        "vocab_size": size["vocabulary"],
        "n_positions": size["context"],
        "n_embd": size["width"],
        "n_layer": size["layers"],
        "n_head": size["heads"],
        "activation_function": "gelu_pytorch_tanh",
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }
    return {"model": model, "batch_size": size["batch"], "context": size["context"]}


def timed(work: Any) -> float:
    """Return the seconds that ``work()`` took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description="Overhead beside a bare PyTorch loop.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    quick = parser.parse_args().quick
    rounds, seconds = (3, 2.0) if quick else (9, 5.0)
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MODEL_FOUNDRY_CACHE"] = cache
        results: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds}
        results["start_up"] = start_up(rounds=rounds)
        for name in SIZES:
            results[name] = throughput(name, rounds=rounds, seconds=seconds)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
