"""Every derived number of a run, computed once from the recipe, the corpus and the number of processes."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

from model_foundry.batch_schedule import BatchRamp, BatchSchedule
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
    """At the full batch."""

    epochs: float
    batch_size: int
    batch_warmup: BatchRamp | None
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
            batches=self.batches,
            tokens=self.tokens,
            words=self.words,
            bytes=self.bytes,
        )

    @cached_property
    def batches(self) -> BatchSchedule:
        """The windows of each update, and where epochs begin."""
        return BatchSchedule(self.corpus.windows, self.batch_size, self.batch_warmup)

    @property
    def tokens_of_updates(self) -> str:
        """For people: the tokens of an update, from the first to those of the full batch."""
        full = f"{self.tokens_per_update:,}"
        return full if self.batch_warmup is None else f"{self.batch_warmup.start * self.context:,} to {full}"

    def updates_of(self, duration: Duration) -> int:
        """Resolve a length into updates; a share is of the whole run."""
        return resolve_updates(duration, self.corpus, self.context, self.batches, total=self.updates)

    def length_from(self, start: int, length: Duration) -> int:
        """Resolve a length that begins at update ``start``, where the batch may still grow, into updates."""
        if self.batch_warmup is None or start >= self.batch_warmup.updates or length.unit in ("updates", "%"):
            full = BatchSchedule(self.corpus.windows, self.batch_size)
            return resolve_updates(length, self.corpus, self.context, full, total=self.updates)
        if length.unit == "epochs":
            before = self.batches.epochs(start)
        else:
            tokens = _tokens(start, self.corpus, self.context, self.batches)
            before = Fraction(tokens * getattr(self.corpus, _TOTALS[length.unit]), self.corpus.targets)
        return self.updates_of(Duration(before + length.amount, length.unit)) - start

    def flops_per_token(self, update: int) -> int:
        """Return the operations that a token of that update costs; the first update is 1."""
        costs = zip(self.context_warmup, self.model.early_flops_per_token, strict=True)
        return next((cost for stage, cost in costs if update <= stage.until), self.model.flops_per_token)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return asdict(self)


_TOTALS = {"tokens": "targets", "words": "words", "bytes": "bytes", "documents": "documents"}
"""What an epoch has of each unit, by the name of the fact."""


def resolve_updates(
    duration: Duration, corpus: CorpusFacts, context: int, batches: BatchSchedule, *, total: int | None
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
    if duration.unit == "epochs":
        return batches.updates_for(amount)
    each_epoch: int = getattr(corpus, _TOTALS[duration.unit])
    if each_epoch == 0:
        raise RecipeError(f"a length in {duration.unit} ({duration}) cannot be met: the corpus holds none.")
    whole_epochs, rest = divmod(amount, each_epoch)
    rest_windows = math.ceil(rest * corpus.targets / each_epoch / context)
    first = batches.first_update(int(whole_epochs))
    return min(batches.after(first, rest_windows), batches.first_update(int(whole_epochs) + 1))


def plan_run(config: ExperimentConfig, corpus: CorpusFacts, model: ModelFacts, processes: int) -> RunPlan:
    """Return the plan of a run on ``processes`` processes.

    Raises:
        RecipeError: When the numbers contradict one another, naming both.
    """
    training, context = config.training, config.data.context
    ramp = _batch_ramp(config, corpus)
    batches = BatchSchedule(corpus.windows, training.batch_size, ramp)
    updates = resolve_updates(training.duration, corpus, context, batches, total=None)
    if updates < 1:
        raise RecipeError(f"training.duration: {training.duration} is less than one update. Lengthen it.")
    if ramp is not None and ramp.updates > updates and not config.schedule.continues_another_run:
        assert training.batch_warmup is not None
        raise RecipeError(
            f"training.batch_warmup.over: {training.batch_warmup.over} is {ramp.updates} updates, and the "
            f"run has {updates}, so training.batch_size would never be reached. Shorten it to 100% or less."
        )
    micro_batch_size = _micro_batch_size(config, processes)

    tokens = _tokens(updates, corpus, context, batches)
    stages = _context_warmup(config, corpus, batches, updates)
    tokens_by_stage = [_tokens(stage.until, corpus, context, batches) for stage in stages]
    warmup = resolve_updates(config.schedule.warmup, corpus, context, batches, total=updates)
    if warmup > updates:
        raise RecipeError(
            f"schedule.warmup: {config.schedule.warmup} is {warmup} updates, and the run has {updates}, "
            "so the peak learning rate would never be reached. "
            "Shorten the warm-up or lengthen training.duration."
        )
    plan = RunPlan(
        updates=updates,
        updates_per_epoch=-(-corpus.windows // training.batch_size),
        epochs=float(batches.epochs(updates)),
        batch_size=training.batch_size,
        batch_warmup=ramp,
        micro_batch_size=micro_batch_size,
        processes=processes,
        rounds_per_update=-(-training.batch_size // (micro_batch_size * processes)),
        context=context,
        context_warmup=stages,
        tokens_per_update=training.batch_size * context,
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


def _tokens(updates: int, corpus: CorpusFacts, context: int, batches: BatchSchedule) -> int:
    epoch = batches.epoch_of(updates)
    windows = batches.before(updates) - batches.before(batches.first_update(epoch))
    return epoch * corpus.targets + min(windows * context, corpus.targets)


def _flops(model: ModelFacts, ends: list[int]) -> float:
    """Return the operations of the run; one stage after the other ends at so many tokens."""
    per_token = [*model.early_flops_per_token, model.flops_per_token]
    lengths = [end - start for start, end in pairwise([0, *ends])]
    return float(sum(cost * length for cost, length in zip(per_token, lengths, strict=True)))


def _context_warmup(
    config: ExperimentConfig, corpus: CorpusFacts, batches: BatchSchedule, updates: int
) -> tuple[ContextStage, ...]:
    data, stages, before = config.data, [], 0
    for index, stage in enumerate(data.context_warmup):
        until = resolve_updates(stage.until, corpus, data.context, batches, total=updates)
        if not before <= until <= updates:
            raise RecipeError(
                f"data.context_warmup.{index}.until: {stage.until} is update {until}, expected {before} to "
                f"{updates}: after the stage before it and within the run. Move it there."
            )
        stages.append(ContextStage(until, stage.context))
        before = until
    return tuple(stages)


def _batch_ramp(config: ExperimentConfig, corpus: CorpusFacts) -> BatchRamp | None:
    """Return the ramp whose own length is what the recipe says of the run that it makes.

    A share of the run, or an amount of text, depends on the ramp: the longer it is, the more updates there
    are. Their number only grows with it, so halving finds a length that is its own answer (Tarski 1955).
    """
    training, context = config.training, config.data.context
    warmup = training.batch_warmup
    if warmup is None:
        return None

    def length(batches: BatchSchedule) -> int:
        total = resolve_updates(training.duration, corpus, context, batches, total=None)
        return resolve_updates(warmup.over, corpus, context, batches, total=total)

    start = warmup.windows(training.batch_size)
    least, most = 0, length(BatchSchedule(corpus.windows, start))
    while least < most:
        middle = (least + most + 1) // 2
        found = length(
            BatchSchedule(corpus.windows, training.batch_size, BatchRamp(start, middle, warmup.steps))
        )
        least, most = (middle, most) if found >= middle else (least, middle - 1)
    if least < 1:
        raise RecipeError(
            f"training.batch_warmup.over: {warmup.over} is less than one update. Lengthen it or leave "
            "training.batch_warmup out."
        )
    return BatchRamp(start, least, warmup.steps)


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
