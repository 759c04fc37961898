"""Suites over saved models: each model is loaded once, and nothing is computed that was computed before."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.corpus.encoder import TextEncoder
from model_foundry.digests import file_sha256
from model_foundry.errors import CheckpointError
from model_foundry.evaluation import Evaluator, Subject, Suite, joined
from model_foundry.manifest import ManifestError
from model_foundry.running.evaluation_files import (
    EvaluationFiles,
    PartFiles,
    Point,
    cache_key,
    settings_of,
)
from model_foundry.running.targets import Target
from model_foundry.training.checkpoint_files import TRAINER_STATE, updates_of, verify_checkpoint

if TYPE_CHECKING:
    from model_foundry.evaluation.scoring import Scorer
    from model_foundry.model import Direction

_SAVE_SECONDS = 30.0
Say = Callable[[str, int, int], None]
"""Is told a checkpoint and suite, how many parts are done and how many there are."""

Load = Callable[[Path], "tuple[torch.nn.Module | Scorer, Direction]"]
"""Gives the model of a folder and the direction of its logits."""


@dataclass(frozen=True)
class Counts:
    """What an evaluation did."""

    computed: int
    cached: int


def evaluate_targets(
    targets: list[Target],
    evaluators: list[Evaluator],
    subject: Subject,
    files: EvaluationFiles,
    folders: list[Path],
    *,
    load: Load,
    say: Say = lambda what, done, total: None,
    save_seconds: float = _SAVE_SECONDS,
) -> Counts:
    """Bring the results of all suites up to date for all models.

    Args:
        targets: The models.
        evaluators: The suites.
        subject: Everything but the model.
        files: Where results go, and where earlier ones are.
        folders: Where relative paths are looked for.
        load: Loads a model; called once for each that anything is to be computed for.
        say: Is told of progress.
        save_seconds: How often parts of an unfinished result are stored.
    """
    suites: list[tuple[Evaluator, Suite]] = [
        (evaluator, evaluator.open(subject, folders)) for evaluator in evaluators
    ]
    computed = cached = 0
    for target in targets:
        keys = [_key(target, evaluator, suite, subject) for evaluator, suite in suites]
        due = [
            (evaluator, suite, key)
            for (evaluator, suite), key in zip(suites, keys, strict=True)
            if (files.read(evaluator.label, target.point.name) or {}).get("key") != key
        ]
        cached += len(suites) - len(due)
        if not due:
            continue
        model, direction = load(target.path)
        seen = replace(subject, model=model, direction=direction)
        for evaluator, suite, key in due:
            _evaluate(evaluator, suite, key, seen, target.point, files, say, save_seconds)
            computed += 1
    for evaluator, _ in suites:
        files.write_table(evaluator)
    return Counts(computed, cached)


def _evaluate(
    evaluator: Evaluator,
    suite: Suite,
    key: str,
    subject: Subject,
    point: Point,
    files: EvaluationFiles,
    say: Say,
    save_seconds: float,
) -> None:
    began = saved_at = time.monotonic()
    stored = PartFiles(files, evaluator.label, point, key)
    done = stored.read()[: len(suite.parts)]
    saved, total = len(done), len(suite.parts)
    what = f"{point.name} {evaluator.label}"
    say(what, len(done), total)
    try:
        for part in range(len(done), total):
            done.append(suite.score(subject, part))
            say(what, len(done), total)
            if len(done) < total and time.monotonic() - saved_at >= save_seconds:
                stored.write(saved, done[saved:])
                saved, saved_at = len(done), time.monotonic()
    except BaseException:  # stopped by whatever: what is done is done
        if done[saved:]:
            stored.write(saved, done[saved:])
        raise
    outcome = suite.summarise(joined(done))
    seconds = time.monotonic() - began
    files.write(evaluator, point, outcome, origin="evaluate", key=key, seconds=seconds)
    stored.remove()


def _key(target: Target, evaluator: Evaluator, suite: Suite, subject: Subject) -> str:
    return cache_key(
        {
            "weights": target.digest,
            "tokenizer": subject.encoder.sha256,
            "content": suite.content,
            "settings": settings_of(evaluator),
            "windows": [subject.context, subject.documents],
        }
    )


def load_for_evaluation(device: torch.device) -> Load:
    """Return what loads a folder in float32 onto ``device``; n-gram models are scorers of their own."""
    from model_foundry.model.loading import direction_of
    from model_foundry.model.ngram.folder import DESCRIPTION, load_ngram
    from model_foundry.running.loading import load_saved
    from model_foundry.training.accelerator import keep_large_blocks

    keep_large_blocks()

    def load(folder: Path) -> tuple[torch.nn.Module | Scorer, Direction]:
        if updates_of(folder) is not None and (folder / TRAINER_STATE).is_file():
            _require_whole(folder)
        if (folder / DESCRIPTION).is_file():
            return load_ngram(folder), "causal"
        model = load_saved(folder, dtype=torch.float32)
        return model.to(device), direction_of(model)  # type: ignore[arg-type]

    return load


def _require_whole(checkpoint: Path) -> None:
    try:
        verify_checkpoint(checkpoint)
    except (ManifestError, OSError) as error:
        raise CheckpointError(f"{checkpoint}: does not hold: {error}. Name another checkpoint.") from error


def require_tokenizer(target: Target, encoder: TextEncoder) -> None:
    """Refuse a checkpoint with another tokenizer than the rest.

    Raises:
        CheckpointError: Naming it.
    """
    path = target.path / "tokenizer.json"
    if path.is_file() and file_sha256(path) != file_sha256(encoder.folder / "tokenizer.json"):
        raise CheckpointError(
            f"{target.path}: its tokenizer is not that of {encoder.folder}. Evaluate the two apart."
        )
