"""Runs lm-evaluation-harness in this process and keeps what it says of every item."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_foundry.digests import file_sha256
from model_foundry.errors import DataError
from model_foundry.evaluation import Measure, Outcome, Subject, Suite, Table
from model_foundry.manifest import json_sha256

COLUMNS = ("task", "document", "metric", "value", "error", "responses")
"""A row for each metric of an item; one without a document is the task's own figure, with its error."""


@dataclass(frozen=True)
class Asked:
    """What is asked of the library."""

    tasks: tuple[str, ...]
    shots: int
    limit: int | None
    batch_size: int
    label: str
    """What the evaluator is called."""


class HarnessTasks(Suite):
    """Parts are the tasks that were named; a group is one part."""

    shown = frozenset({"all", "task"})

    def __init__(self, asked: Asked, installed: str, folder: Path | None) -> None:
        self._asked = asked
        self._folder = folder
        self._version = installed
        files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
        hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files if folder}
        self.content = json_sha256({"lm_eval": installed, "files": hashes})
        self.parts = list(asked.tasks)

    def score(self, subject: Subject, part: int) -> Table:
        """Return what the library says of every item of a task, and of the task."""
        if not isinstance(subject.model, torch.nn.Module) or subject.direction == "bidirectional":
            raise DataError(
                f"evaluation {self._asked.label}: lm-evaluation-harness scores causal models of "
                "transformers, and this is none. Use minimal_pairs or surprisal."
            )
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
        from transformers import AutoTokenizer

        manager = TaskManager(include_path=str(self._folder) if self._folder else None)
        name = self.parts[part]
        if name not in manager.all_tasks:
            raise DataError(
                f"evaluation {self._asked.label}: lm-evaluation-harness {self._version} has no task "
                f"{name!r}, nor has the folder include ({self._folder}). Correct tasks."
            )
        tokenizer = AutoTokenizer.from_pretrained(subject.encoder.folder, local_files_only=True)
        with _untouched_generators():
            model = HFLM(
                pretrained=subject.model,
                backend="causal",
                tokenizer=tokenizer,
                batch_size=self._asked.batch_size,
                max_length=subject.context,
            )
            found = lm_eval.simple_evaluate(
                model=model,
                tasks=[name],
                num_fewshot=self._asked.shots,
                limit=self._asked.limit,
                task_manager=manager,
                bootstrap_iters=0,
                log_samples=True,
            )
        return _table(found)

    def summarise(self, items: Table) -> Outcome:
        """Return the library's figures of every task."""
        measures = [
            Measure(metric, value, "task", task, *_interval(value, error), items["task"].count(task) - 1)
            for task, document, metric, value, error in zip(
                *(items[name] for name in COLUMNS[:5]), strict=True
            )
            if document is None
        ]
        facts = {
            "lm_eval": self._version,
            "shots": self._asked.shots,
            "limit": self._asked.limit,
            "intervals": "1.96 times the standard error that the library gives",
        }
        return Outcome(measures, items, facts)


def _table(found: dict[str, Any]) -> Table:
    rows: list[tuple[Any, ...]] = []
    for task, samples in found["samples"].items():
        for sample in samples:
            responses = json.dumps(sample["filtered_resps"], default=str)
            for metric in sample["metrics"]:
                rows.append((task, sample["doc_id"], metric, _number(sample[metric]), None, responses))
    for task, figures in found["results"].items():
        for key, value in figures.items():
            metric, comma, rule = key.partition(",")
            if comma and not metric.endswith("_stderr") and (number := _number(value)) is not None:
                error = _number(figures.get(f"{metric}_stderr,{rule}"))
                name = metric if rule == "none" else f"{metric}-{rule}"
                rows.append((task, None, name, number, error, None))
    return {column: [row[place] for row in rows] for place, column in enumerate(COLUMNS)}


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float | np.number) and math.isfinite(float(value))
    return float(value) if is_number else None


def _interval(value: float, error: float | None) -> tuple[float | None, float | None]:
    return (None, None) if error is None else (value - 1.96 * error, value + 1.96 * error)


@contextmanager
def _untouched_generators() -> Iterator[None]:
    """Give back the ambient generators as they were: the library seeds them."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
