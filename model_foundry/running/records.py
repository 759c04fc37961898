"""What a run says and writes down about itself: on the screen, in its folder, in its checkpoints."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model_foundry.config.plan import RunPlan
from model_foundry.corpus.describing import describe_corpus
from model_foundry.corpus.prepared import PreparedCorpus, corpus_manifest
from model_foundry.errors import DataError
from model_foundry.manifest import json_sha256
from model_foundry.planning.amounts import in_bytes
from model_foundry.running.courses import ORDER_FILE, describe_course, store_order
from model_foundry.training.checkpointing import tokenizer_sha256
from model_foundry.training.disk import DiskUse
from model_foundry.training.environment import describe_environment, package_versions

if TYPE_CHECKING:
    from accelerate import Accelerator

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.data.mixture import AnyCourse
    from model_foundry.running.building import Built, Data
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint

INITIAL_WEIGHTS = "initial_weights_sha256"


def record_run(trainer: Trainer, data: Data, built: Built, chosen: dict[str, Any] | None = None) -> None:
    """Write environment, command, corpus, its statistics, plan and tokenizer into the run's folder."""
    run, corpus, plan = trainer.run, data.corpus, built.plan
    environment = describe_environment(Path.cwd())
    environment["folders"] = [str(folder.resolve()) for folder in trainer.folders]
    run.write_json("environment.json", environment)
    earlier = (run / "command.txt").read_text(encoding="utf-8") if (run / "command.txt").exists() else ""
    run.write_text("command.txt", f"{earlier}{shlex.join(environment['command'])}\n")  # a line a start
    run.write_json("corpus.manifest.json", corpus_manifest(corpus))
    run.write_json("corpus.statistics.json", describe_corpus(corpus, trainer.config.data.context))
    groups = {"optimizer_groups": describe_groups(built.optimizer)}
    taken = {INITIAL_WEIGHTS: built.initial_weights} if built.initial_weights else {}
    more = {**groups, **taken, **(chosen or {})}
    run.write_json("plan.json", {**plan.as_json(), **describe_course(built.course, plan), **more})
    store_order(built.course, run / ORDER_FILE)
    run.tokenizer.mkdir(exist_ok=True)
    for file in sorted(corpus.tokenizer_folder.iterdir()):
        (run.tokenizer / file.name).write_bytes(file.read_bytes())


def describe_groups(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """Return which parameters learn how fast and decay how much, group by group."""
    return [
        {
            **({"kind": group["kind"]} if "kind" in group else {}),
            "parameters": sum(parameter.numel() for parameter in group["params"]),
            "tensors": len(group["params"]),
            "learning_rate": group.get("lr_scale", 1.0),
            "weight_decay": group.get("weight_decay", 0.0),
            "names": group.get("param_names", []),
        }
        for group in optimizer.param_groups
    ]


def checkpoint_facts(
    config: ExperimentConfig, corpus: PreparedCorpus, built: Built, run_id: str
) -> dict[str, Any]:
    """Return what every checkpoint records beside the clock: recipe, hashes, versions, topology."""
    recipe, plan = config.resolved(), built.plan
    taken = {INITIAL_WEIGHTS: built.initial_weights} if built.initial_weights else {}
    return {
        "run_id": run_id,
        "recipe": recipe,
        "recipe_sha256": json_sha256(recipe),
        "tokenizer_sha256": tokenizer_sha256(corpus.tokenizer_folder),
        "data_sha256": json_sha256([source.manifest["key"] for source in corpus.sources]),
        "world_size": plan.processes,
        **taken,
        "micro_batch_size": plan.micro_batch_size,
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }


def position_facts(course: AnyCourse, attempt: int) -> dict[str, Any]:
    """Return where the data stand after ``attempt`` attempts: a position, and what the last showed."""
    shown = course.span(attempt - 1) if attempt else range(0)
    places = [course.place(position) for position in shown]
    return {
        "position": shown.stop,
        "last_windows_sha256": json_sha256([[place.source, place.window, place.epoch] for place in places]),
    }


def require_same_data(checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
    """Refuse to go on with another text or tokenizer than the run began with.

    Raises:
        DataError: Saying which of them changed.
    """
    what_of = {"tokenizer_sha256": "tokenizer", "data_sha256": "training text"}
    for key, what in {**what_of, INITIAL_WEIGHTS: "folder of init_from"}.items():
        if checkpoint.record.get(key) != facts.get(key):
            raise DataError(
                f"{checkpoint.path}: the {what} is not the one that this run began with: its content "
                "changed. Restore it to resume this run, or start a new run folder."
            )


def summary(config: ExperimentConfig, plan: RunPlan, disk: DiskUse, accelerator: Accelerator) -> str:
    """Return what a person wants to know before the first update: device, corpus, model, length."""
    device = accelerator.device.type
    where = f"{plan.processes} x {device}" if plan.processes > 1 else device
    if device == "cpu":
        threads = torch.get_num_threads()
        where += f" ({threads} thread{'s' if threads > 1 else ''})"
    corpus, model = plan.corpus, plan.model
    lines = [
        f"{config.run_name} · {where} · {config.training.precision} · seed {config.seed}",
        f"  corpus  {corpus.documents:,} documents · {corpus.words:,} words · {corpus.targets:,} tokens",
        f"  model   {model.parameters:,} parameters ({model.embedding_parameters:,} in embeddings)",
        f"  run     {plan.updates:,} updates of {plan.tokens_of_updates} tokens · "
        f"{plan.epochs:.2f} epochs · {len(plan.checkpoints)} checkpoints · "
        f"{in_bytes(disk.most_bytes)} of disk",
    ]
    return "\n".join(lines)


def goodbye(trainer: Trainer, measures: list[str]) -> list[str]:
    """Return the end of a run in lines: the last measures, the model's folder, the next command."""
    run, here = trainer.run, Path.cwd()
    folder = run.path.relative_to(here) if run.path.is_relative_to(here) else run.path
    prompt = trainer.config.samples.prompts[0] if trainer.config.samples else "The"
    return [
        *measures,
        f"finished: {folder / 'checkpoints' / str(run.status().get('last_good_checkpoint'))}",
        f"  next: {shlex.join([*console_command(), 'generate', str(folder), prompt])}",
    ]


def console_command() -> list[str]:
    """Return how to call ``model-foundry`` from here: by name, by path, or through this interpreter.

    By name only where that is the command of this interpreter: another environment may have one, too.
    """
    beside = Path(sys.executable).with_name("model-foundry")
    found = shutil.which("model-foundry")
    if found is not None and Path(found).resolve() == beside.resolve():
        return ["model-foundry"]
    if not beside.is_file():
        return [sys.executable, "-m", "model_foundry"]
    here = Path.cwd()
    return [os.fspath(beside.relative_to(here) if beside.is_relative_to(here) else beside)]
