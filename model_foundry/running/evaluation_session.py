"""An evaluation as the command line asks for it: which models, by which suites, with what text beside."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.config.load import load_recipe
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepared import corpus_manifest
from model_foundry.errors import DataError, RecipeError
from model_foundry.evaluation import Evaluator, Subject
from model_foundry.running.courses import count_tokens, open_held_out, open_windows
from model_foundry.running.evaluating import (
    Counts,
    Load,
    Say,
    evaluate_targets,
    load_for_evaluation,
    require_tokenizer,
)
from model_foundry.running.evaluation_files import EvaluationFiles
from model_foundry.running.reopening import reopen_run
from model_foundry.running.suites import find_suites
from model_foundry.running.targets import Targets, find_targets

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig


@dataclass(frozen=True)
class Session:
    """Everything but where results go."""

    targets: Targets
    evaluators: list[Evaluator]
    subject: Subject
    folders: list[Path]
    load: Load

    def run(self, files: EvaluationFiles, say: Say) -> Counts:
        """Bring all results up to date."""
        return evaluate_targets(
            self.targets.chosen, self.evaluators, self.subject, files, self.folders, load=self.load, say=say
        )


def open_session(
    path: Path,
    suites: Sequence[str | Evaluator],
    which: str,
    *,
    device: str = "auto",
    with_untrained: bool = True,
    allow_custom_code: bool = False,
) -> Session:
    """Find models, suites and the run's own text.

    Args:
        path: A run, one of its checkpoints, or a model's folder.
        suites: By name, or themselves.
        which: Of a run: all, last, every:N, or updates.
        device: Where the models are.
        with_untrained: Whether a run's untrained model is always among them.
        allow_custom_code: Whether the run's recipe may name a module of the user's.

    Raises:
        ModelFoundryError: When any is missing or does not fit.
    """
    place = _device(device)
    targets = find_targets(path, which, with_untrained=with_untrained)
    load = load_for_evaluation(place)
    encoder = TextEncoder(targets.chosen[-1].path)
    for target in targets.chosen:
        require_tokenizer(target, encoder)
    if targets.run is None:
        evaluators = find_suites(suites, None)
        for evaluator in evaluators:
            if evaluator.needs_held_out:
                raise DataError(
                    f"--suite {evaluator.label}: it measures the held-out text of a run, and {path} is a "
                    "model without one. Name text with perplexity:FILES, or a run."
                )
        model, direction = load(path)  # only the model itself says which way it looks
        subject = Subject(model, place, encoder, {}, context=_positions(targets), direction=direction)
        return Session(targets, evaluators, subject, [Path.cwd()], lambda folder: (model, direction))
    return _of_run(targets, targets.run, suites, encoder, place, load, allow_custom_code=allow_custom_code)


def _of_run(
    targets: Targets,
    run: Path,
    suites: Sequence[str | Evaluator],
    encoder: TextEncoder,
    device: torch.device,
    load: Load,
    *,
    allow_custom_code: bool,
) -> Session:
    config = load_recipe(run / "recipe.resolved.yaml", allow_custom_code=allow_custom_code)
    evaluators = find_suites(suites, config)
    subject = Subject(
        model=torch.nn.Identity(),
        device=device,
        encoder=encoder,
        held_out={},
        context=config.data.context,
        documents=config.data.documents,
        direction=config.model.direction,
        objective=config.objective,
    )
    if any(evaluator.needs_held_out or evaluator.needs_training_text for evaluator in evaluators):
        subject = _with_text(subject, config, run, allow_custom_code=allow_custom_code)
    return Session(targets, evaluators, subject, _folders(run), load)


def _with_text(subject: Subject, config: ExperimentConfig, run: Path, *, allow_custom_code: bool) -> Subject:
    _, corpus = reopen_run(run, allow_custom_code=allow_custom_code)
    return replace(
        subject,
        held_out=open_held_out(corpus, subject.encoder),
        corpus=corpus_manifest(corpus)["digest"],
        token_counts=lambda: count_tokens(open_windows(config, corpus, subject.encoder), subject.encoder),
    )


def _folders(run: Path) -> list[Path]:
    """Where relative paths are looked for: where one stands, then where the run was started."""
    return list(dict.fromkeys([Path.cwd(), run.resolve().parent.parent, run.resolve().parent]))


def _positions(targets: Targets) -> int:
    """Return the context of a model without a run: its positions."""
    path = targets.chosen[0].path / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}  # an n-gram has no limit
    for name in ("max_position_embeddings", "n_positions"):
        if isinstance(config.get(name), int):
            return int(config[name])
    return 1024


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"--device {name}: {error} Use cpu.") from error
    return device
