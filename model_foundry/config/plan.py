"""Every derived number of a run, computed once from the recipe, the corpus and the number of processes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from model_foundry.config.schema import ExperimentConfig
from model_foundry.errors import RecipeError
from model_foundry.milestone import RunLength
from model_foundry.schedule import Curve
from model_foundry.units import Duration

_AUTO_TOKENS = 16_384


@dataclass(frozen=True)
class CorpusFacts:
    """What one epoch holds, from the windows of the prepared corpus."""

    windows: int
    targets: int
    words: int
    bytes: int
    documents: int
    updates: int
    packing: Any = None
    """Padding, split documents and kept tokens in percent."""


@dataclass(frozen=True)
class ModelFacts:
    """What was counted on the built model."""

    parameters: int
    embedding_parameters: int
    flops_per_token: int
    early_flops_per_token: tuple[int, ...] = ()
    """The same at the contexts of ``data.context_warmup``, in order."""


@dataclass(frozen=True)
class ContextStage:
    """Updates, from where the stage before ends, that show windows as rows of ``context`` tokens."""

    until: int
    context: int


@dataclass(frozen=True)
class RunPlan:
    """The run in numbers. Words and bytes are estimates: they follow from the corpus's mean per target."""

    updates: int
    updates_per_epoch: int
    epochs: float
    batch_size: int
    micro_batch_size: int
    processes: int
    rounds_per_update: int
    context: int
    context_warmup: tuple[ContextStage, ...]
    tokens_per_update: int
    tokens: int
    words: int
    bytes: int
    warmup_updates: int
    corpus: CorpusFacts
    model: ModelFacts
    flops: float
    checkpoints: tuple[str, ...]
    estimates: tuple[str, ...]

    @property
    def length(self) -> RunLength:
        """The run's length in every unit."""
        return RunLength(
            updates=self.updates,
            updates_per_epoch=self.updates_per_epoch,
            tokens=self.tokens,
            words=self.words,
            bytes=self.bytes,
            epochs=Fraction(self.updates, self.updates_per_epoch),
        )

    def updates_of(self, duration: Duration) -> int:
        """Resolve a length into updates; a share is of the whole run."""
        return resolve_updates(duration, self.corpus, self.tokens_per_update, total=self.updates)

    def flops_per_token(self, update: int) -> int:
        """Return the operations that a token of that update costs; the first update is 1."""
        costs = zip(self.context_warmup, self.model.early_flops_per_token, strict=True)
        return next((cost for stage, cost in costs if update <= stage.until), self.model.flops_per_token)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


def resolve_updates(
    duration: Duration, corpus: CorpusFacts, tokens_per_update: int, *, total: int | None
) -> int:
    """Return the first update at or past ``duration``.

    Epochs count exactly, since an update never spans them. Tokens count whole epochs and then full updates;
    words, bytes and documents become tokens by the corpus's mean per target.
    """
    amount = duration.amount
    if duration.unit == "updates":
        return int(amount)
    if duration.unit == "%":
        assert total is not None, "a share of the run needs the run's length"
        return round(amount / 100 * total)
    if duration.unit != "epochs":
        each_epoch = {
            "tokens": corpus.targets,
            "words": corpus.words,
            "bytes": corpus.bytes,
            "documents": corpus.documents,
        }[duration.unit]
        if each_epoch == 0:
            raise RecipeError(
                f"a length in {duration.unit} ({duration}) cannot be met: the corpus holds none."
            )
        whole_epochs, rest = divmod(amount, each_epoch)
        rest_tokens = rest * corpus.targets / each_epoch
        last = min(math.ceil(rest_tokens / tokens_per_update), corpus.updates)
        return int(whole_epochs) * corpus.updates + last
    whole_epochs, part = divmod(amount, 1)
    return int(whole_epochs) * corpus.updates + math.ceil(part * corpus.updates)


def plan_run(config: ExperimentConfig, corpus: CorpusFacts, model: ModelFacts, processes: int) -> RunPlan:
    """Return the plan of a run on ``processes`` processes.

    Raises:
        RecipeError: When the numbers contradict one another, naming both.
    """
    training, context = config.training, config.data.context
    tokens_per_update = training.batch_size * context
    updates = resolve_updates(training.duration, corpus, tokens_per_update, total=None)
    if updates < 1:
        raise RecipeError(f"training.duration: {training.duration} is less than one update. Lengthen it.")
    micro_batch_size = _micro_batch_size(config, processes)

    tokens = _tokens(updates, corpus, tokens_per_update)
    stages = _context_warmup(config, corpus, updates)
    tokens_by_stage = [_tokens(stage.until, corpus, tokens_per_update) for stage in stages]
    warmup = resolve_updates(config.schedule.warmup, corpus, tokens_per_update, total=updates)
    if warmup > updates:
        raise RecipeError(
            f"schedule.warmup: {config.schedule.warmup} is {warmup} updates, and the run has {updates}, "
            "so the peak learning rate would never be reached. "
            "Shorten the warm-up or lengthen training.duration."
        )
    plan = RunPlan(
        updates=updates,
        updates_per_epoch=corpus.updates,
        epochs=updates / corpus.updates,
        batch_size=training.batch_size,
        micro_batch_size=micro_batch_size,
        processes=processes,
        rounds_per_update=-(-training.batch_size // (micro_batch_size * processes)),
        context=context,
        context_warmup=stages,
        tokens_per_update=tokens_per_update,
        tokens=tokens,
        words=tokens * corpus.words // corpus.targets,
        bytes=tokens * corpus.bytes // corpus.targets,
        warmup_updates=warmup,
        corpus=corpus,
        model=model,
        flops=_flops(model, [*tokens_by_stage, tokens]),
        checkpoints=(),
        estimates=("words", "bytes"),
    )
    points = {point for rule in config.checkpoints.schedule for point in rule.points(plan.length)}
    points |= {Duration(Fraction(0), "updates"), Duration(Fraction(updates), "updates")}
    in_order = sorted(points, key=lambda point: (point.unit, point.amount))
    return replace(plan, checkpoints=tuple(map(str, in_order)))


def learning_rate_curve(config: ExperimentConfig, plan: RunPlan) -> Curve:
    """Return the share of the peak learning rate as a pure function of the update."""
    return config.schedule.curve(plan.updates, plan.updates_of)


def _tokens(updates: int, corpus: CorpusFacts, tokens_per_update: int) -> int:
    whole_epochs, rest = divmod(updates, corpus.updates)
    return whole_epochs * corpus.targets + min(rest * tokens_per_update, corpus.targets)


def _flops(model: ModelFacts, ends: list[int]) -> float:
    """Return the operations of the run; one stage after the other ends at so many tokens."""
    per_token = [*model.early_flops_per_token, model.flops_per_token]
    lengths = [end - start for start, end in pairwise([0, *ends])]
    return float(sum(cost * length for cost, length in zip(per_token, lengths, strict=True)))


def _context_warmup(config: ExperimentConfig, corpus: CorpusFacts, updates: int) -> tuple[ContextStage, ...]:
    data, stages, before = config.data, [], 0
    for index, stage in enumerate(data.context_warmup):
        tokens_per_update = config.training.batch_size * data.context
        until = resolve_updates(stage.until, corpus, tokens_per_update, total=updates)
        if not before <= until <= updates:
            raise RecipeError(
                f"data.context_warmup.{index}.until: {stage.until} is update {until}, expected {before} to "
                f"{updates}: after the stage before it and within the run. Move it there."
            )
        stages.append(ContextStage(until, stage.context))
        before = until
    return tuple(stages)


def _micro_batch_size(config: ExperimentConfig, processes: int) -> int:
    training = config.training
    share = -(-training.batch_size // processes)
    if training.micro_batch_size == "auto":
        return max(1, min(share, _AUTO_TOKENS // config.data.context))
    if training.micro_batch_size > share:
        raise RecipeError(
            f"training.micro_batch_size: {training.micro_batch_size} windows a process, and the share of an "
            f"update is {share} (batch_size {training.batch_size} over {processes} processes). "
            f"Lower it to {share} or less."
        )
    return training.micro_batch_size
