"""This package at its defaults, from a recipe; flags with '=' are values of the recipe."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.systems import Clock, Request, is_first_process

FLAGS = {
    "compile": "training.compile, the whole model",
    "regions": "training.compile=regions",
}


def recipe(request: Request) -> str:
    """Return the recipe: sizes and precision of the benchmark, nothing else that is not a default.

    A line of metrics is written after every update, which costs us a little: it is the clock here.
    """
    size = request.size
    return f"""\
corpus:
  sources: [{{type: nanogpt, path: {request.stream}/train.bin, end_of_document: 0}}]
tokenizer: {{type: pretrained, path: {request.stream}/tokenizer}}
data: {{context: {size["context"]}}}
model: {{type: gpt2, layers: {size["layers"]}, width: {size["width"]}, heads: {size["heads"]}}}
optimizer: {{type: adamw, learning_rate: 1e-3}}
schedule: {{type: cosine, warmup: 2%, floor: 10%}}
training: {{duration: {request.updates} updates, batch_size: {size["batch"]}, precision: {request.precision}}}
evaluation: []
logging: {{every: 1 updates}}
"""


def settings(flags: tuple[str, ...]) -> list[str]:
    """Return the values of the recipe that flags stand for."""
    from model_foundry.config.schema import Training

    whole = "true" if Training.model_fields["compile"].annotation is bool else "model"
    named = {"compile": f"training.compile={whole}", "regions": "training.compile=regions"}
    return [named.get(flag, flag) for flag in flags if flag in named or "=" in flag]


def prepare(request: Request, environment: Mapping[str, str]) -> None:
    """Put the corpus into the cache, so that no turn does."""
    file = Path(request.folder) / "recipe.yaml"
    file.write_text(recipe(request), encoding="utf-8")
    command = [sys.executable, "-m", "model_foundry", "prepare", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def run(request: Request, clock: Clock) -> int:
    """Train as ``python -m model_foundry.train`` does."""
    folder = Path(request.folder)
    file = folder / "recipe.yaml"
    if is_first_process():
        file.write_text(recipe(request), encoding="utf-8")
    from model_foundry.config.load import load_recipe_with_sources
    from model_foundry.trainer import Trainer

    loaded = load_recipe_with_sources(file, settings(request.flags))
    Trainer(loaded.config, run_dir=folder / "run", recipe=loaded).train()
    if not is_first_process():
        return 0
    for line in map(json.loads, (folder / "run" / "metrics.jsonl").open(encoding="utf-8")):
        clock.stamps.append((line["update"], line["time"]))
    plan = json.loads((folder / "run" / "plan.json").read_text(encoding="utf-8"))
    return int(plan["model"]["parameters"])
