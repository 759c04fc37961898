"""What a person would want to know before a run costs anything, with numbers and a way out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from model_foundry.planning.amounts import in_bytes, in_count, in_time

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.planning.forecast import Forecast

CHINCHILLA = 20
"""Tokens a parameter at which compute is spent best (Hoffmann et al. 2022, arXiv 2203.15556, table 3)."""

_FEW, _MANY = CHINCHILLA / 4, CHINCHILLA * 50
_LONG_WARMUP, _MUCH_EMBEDDING, _MUCH_PADDING, _MOST_PASSES = 0.25, 0.5, 25.0, 16
_MANY_UNUSED, _FEW_LONG = 0.1, 0.05
_MEMORY_LEFT = 0.9
_SELDOM = 6 * 3600.0
_SHORT_UPDATE = 0.02  # seconds; a few hundred kernels are launched in about so much


def cautions(config: ExperimentConfig, forecast: Forecast) -> list[str]:
    """Return one sentence or two for each thing that is likely not what was meant."""
    rules = (_updates, _vocabulary, _size, _text, _room, _fit, _checkpoints, _table)
    return [caution for rule in rules for caution in rule(config, forecast)]


def _updates(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    plan = forecast.plan
    if plan.warmup_updates > _LONG_WARMUP * plan.updates:
        yield (
            f"schedule.warmup: {config.schedule.warmup} is {plan.warmup_updates:,} of {plan.updates:,} "
            "updates; for most of that time the learning rate is below its peak. Shorten it, or train longer."
        )
    if plan.micro_batch_size * plan.processes > plan.batch_size:
        yield (
            f"training.batch_size: {plan.batch_size} windows do not fill {plan.processes} devices with "
            f"micro-batches of {plan.micro_batch_size}."
        )
    windows = plan.corpus.windows
    if not forecast.text_is_estimate and windows < config.training.batch_size:
        yield (
            f"training.batch_size: an epoch has {windows:,} windows, fewer than one update's "
            f"{config.training.batch_size:,}; an update never spans epochs. Lower it."
        )


def _vocabulary(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    if forecast.unused_ids > _MANY_UNUSED * forecast.vocabulary:
        yield (
            f"vocabulary: {forecast.unused_ids:,} of {forecast.vocabulary:,} tokens never occur in the "
            "training text; their embeddings are never learned. Lower tokenizer.vocab_size, or add text."
        )
    share = (forecast.parameters["embedding"] + forecast.parameters["output"]) / forecast.parameters["total"]
    if share > _MUCH_EMBEDDING:
        yield (
            f"model: {share:.0%} of its parameters are tables of the vocabulary of {forecast.vocabulary:,}. "
            "A smaller tokenizer.vocab_size leaves more of them to the layers."
        )


def _size(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    active, tokens = forecast.parameters["active"], forecast.plan.tokens
    ratio = tokens / active
    if ratio < _FEW:
        yield (
            f"model: {ratio:.2g} tokens a parameter, where about {CHINCHILLA} use compute best (Hoffmann "
            f"et al. 2022, arXiv 2203.15556): it is too large for {in_count(tokens)} tokens."
        )
    if ratio > _MANY:
        yield (
            f"model: {ratio:,.0f} tokens a parameter, where about {CHINCHILLA} use compute best (Hoffmann "
            "et al. 2022, arXiv 2203.15556): a larger model would learn more from this run."
        )


def _text(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    corpus, context = forecast.plan.corpus, forecast.plan.context
    for source, passes in forecast.epochs_by_source.items():
        if passes > _MOST_PASSES:
            yield (
                f"corpus: {source} is seen {passes:,.1f} times. Repetition beyond about {_MOST_PASSES} "
                "passes adds next to nothing (Muennighoff et al. 2023, arXiv 2305.16264). Add text."
            )
    if forecast.text_is_estimate:
        return
    if corpus.packing is not None and corpus.packing.padding > _MUCH_PADDING:
        yield (
            f"data.context: {corpus.packing.padding:.0f} % of all places are padding. Shorten the context, "
            "or use data.documents: isolate, which packs documents."
        )
    share = forecast.share_of_long_documents
    if config.data.documents != "concatenate" and share is not None and share < _FEW_LONG:
        yield (
            f"data.context: {share:.1%} of the documents are as long as {context} tokens, so that places far "
            "back are hardly ever trained. Shorten the context, or use data.documents: concatenate."
        )


def _room(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    disk, free = forecast.disk, forecast.free_bytes
    if disk.most_bytes * 1.1 > free:
        yield (
            f"disk: checkpoints take up to {in_bytes(disk.most_bytes)}, and {in_bytes(free)} are free at "
            f"{forecast.disk_folder}; the run would be refused. Free some space, name another folder with "
            "--run-dir, or keep fewer (checkpoints.keep_resumable, checkpoints.schedule)."
        )


def _fit(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    memory = forecast.memory
    if memory.available_bytes is not None and memory.bytes > _MEMORY_LEFT * memory.available_bytes:
        yield (
            f"memory: about {in_bytes(memory.bytes)} a device, and {memory.where} has "
            f"{in_bytes(memory.available_bytes)}. Lower training.micro_batch_size (now "
            f"{forecast.plan.micro_batch_size}; an update stays what it is), set "
            "training.gradient_checkpointing: true, or take more devices with --placement fsdp2."
        )


def _checkpoints(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    for time in forecast.times:
        resumable = [save.update for save in forecast.saves if save.is_resumable]
        gaps = [after - before for before, after in pairwise(resumable)]
        lost = max(gaps, default=0) / forecast.plan.updates * time.seconds
        if lost > _SELDOM:
            yield (
                f"checkpoints: up to {in_time(lost)} of work on {time.where} lie between two resumable "
                "ones, and are lost when the run breaks off. Set checkpoints.rolling, such as 500 updates."
            )
            return


def _table(config: ExperimentConfig, forecast: Forecast) -> Iterator[str]:
    for time in forecast.times:
        update = time.seconds / forecast.plan.updates
        if time.source == "table" and update < _SHORT_UPDATE:
            yield (
                f"time: {in_time(update)} an update on {time.where} is less than it takes to launch its "
                "kernels; so small a model will be slower than the table says. Measure it there with --probe."
            )
