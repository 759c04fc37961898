"""The steps between a checked recipe and a trained model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_foundry.config.plan import CorpusFacts, ModelFacts, RunPlan, learning_rate_curve, plan_run
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus
from model_foundry.courses import (
    build_course,
    corpus_facts,
    open_held_out,
    open_windows,
)
from model_foundry.data.loader import rounds
from model_foundry.data.mixture import AnyCourse
from model_foundry.data.windows import Windows
from model_foundry.evaluation import Subject
from model_foundry.failpoints import reach
from model_foundry.logs import tell
from model_foundry.measuring import Measuring, what_is_due
from model_foundry.model import Vocabulary
from model_foundry.model.counting import count_parameters, flops_per_token
from model_foundry.records import checkpoint_facts, goodbye, record_run, require_same_data, summary
from model_foundry.recovery import build_recovery, open_batches
from model_foundry.saving import milestones_after, moment, require_same_moment, saving
from model_foundry.seeds import derive_seed
from model_foundry.training.accelerator import build_accelerator, make_deterministic, seed_process
from model_foundry.training.checkpointing import CheckpointManager
from model_foundry.training.consensus import Consensus
from model_foundry.training.interruption import Interruption
from model_foundry.training.isolation import require_isolation
from model_foundry.training.loop import TrainingLoop
from model_foundry.training.metrics import JsonLog
from model_foundry.training.progress import Progress
from model_foundry.training.state import TrainState
from model_foundry.watching import watch, watched

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint
    from model_foundry.training.stopping import StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """What the text became."""

    corpus: PreparedCorpus
    encoder: TextEncoder
    windows: list[Windows]
    facts: CorpusFacts


@dataclass(frozen=True)
class Built:
    """What recipe and text together make."""

    model: PreTrainedModel
    plan: RunPlan
    course: AnyCourse


def run_pipeline(
    trainer: Trainer, checkpoint: Checkpoint | None, stop: StopRequest, *, is_main: bool
) -> TrainState:
    """Prepare, build and train.

    Args:
        trainer: Recipe, folders and run.
        checkpoint: Where to go on, or None to begin.
        stop: Requests to stop.
        is_main: Whether this process writes the run's records.

    Returns:
        The clock after the last update.
    """
    say: Callable[[str], None] = tell if is_main else lambda text: None
    loop = build_loop(trainer, checkpoint, stop, is_main=is_main, say=say)
    with watched(loop.watchdog, trainer):
        loop.progress.start()
        try:
            final = loop.run()
        finally:
            loop.close()
    reach("goodbye")
    for line in goodbye(trainer, loop.evaluate.last_lines()):
        say(line)
    return final


def build_loop(
    trainer: Trainer,
    checkpoint: Checkpoint | None,
    stop: StopRequest,
    *,
    is_main: bool,
    say: Callable[[str], None],
) -> TrainingLoop:
    """Return the loop of a run, everything in place for its next update."""
    config = trainer.config
    # Text and tokens come before the process group: no rank waits in a collective while another tokenises.
    data = prepare_data(config, trainer.folders, say, lambda: _obey_before_the_first_update(stop))
    accelerator = build_accelerator(config.training.precision, timeout_seconds=config.training.hang_timeout)
    if not is_main:
        trainer.start_logging(accelerator.process_index)
    seed_process(config.seed)
    if config.training.deterministic:
        make_deterministic()
    built = build_model_and_plan(config, data, accelerator.num_processes, trainer.folders)
    if is_main:
        record_run(trainer, data, built)
    say(summary(config, built.plan, accelerator))
    return _place(trainer, data, built, accelerator, checkpoint, stop, say)


def prepare_data(
    config: ExperimentConfig,
    folders: list[Path],
    say: Callable[[str], None],
    look: Callable[[], None] = lambda: None,
) -> Data:
    """Return the corpus as windows, from the cache where it is there; ``look`` is called now and then."""
    corpus = _prepare(config, folders, say, look)
    look()
    encoder = TextEncoder(corpus.tokenizer_folder)
    windows = open_windows(config, corpus, encoder)
    return Data(corpus, encoder, windows, corpus_facts(config, windows, folders))


def build_model_and_plan(config: ExperimentConfig, data: Data, processes: int, folders: list[Path]) -> Built:
    """Return the initialised model, the run's numbers, and which window stands where."""
    model = _build_model(config, data.encoder)
    if config.data.documents == "isolate":
        require_isolation(model, vocabulary_size=data.encoder.vocab_size, context=config.data.context)
    plan = plan_run(config, data.facts, _model_facts(model, config.data.context), processes)
    return Built(model, plan, build_course(config, data.windows, plan, folders))


def _place(
    trainer: Trainer,
    data: Data,
    built: Built,
    accelerator: Accelerator,
    checkpoint: Checkpoint | None,
    stop: StopRequest,
    say: Callable[[str], None],
) -> TrainingLoop:
    config, run, plan, course = trainer.config, trainer.run, built.plan, built.course
    is_main = accelerator.is_main_process
    model, optimizer = accelerator.prepare(built.model, config.optimizer.build(built.model))
    curve = learning_rate_curve(config, plan)
    checkpoints = _checkpoints(trainer, data, plan, accelerator, checkpoint)
    state = TrainState()
    if checkpoint:
        state = _restore(trainer, built, checkpoints, checkpoint, curve)
        say(f"resumed from {checkpoint.path.name}: {state.tokens:,} tokens seen")
    checkpoints.require_space(built.model, milestones_after(config, plan, state.updates))
    if is_main:
        run.set_status("running", bit_exact=not checkpoints.inexact, inexact=checkpoints.inexact)

    last_kept = state.updates if checkpoint else -1
    unmeasured = tuple(checkpoint.record.get("unmeasured", ())) if checkpoint else ()
    metrics, samples = (
        JsonLog(path if is_main else None, keep_until=last_kept, measures_anew=bool(unmeasured))
        for path in (run.metrics, run.samples)
    )
    progress = Progress(plan.updates, done=state.updates, is_shown=is_main)
    watchdog = watch(trainer, accelerator, stop)
    interruption = Interruption(accelerator, built.model, stop, watchdog)
    subject = _subject(config, data, built, accelerator, interruption)
    measuring = Measuring(config, plan, subject, trainer.folders, metrics, samples, progress, interruption)
    batches = open_batches(config, built, accelerator)
    logs = (metrics, samples)
    return TrainingLoop(
        accelerator=accelerator,
        model=model,
        optimizer=optimizer,
        batches=batches(state),
        rounds=lambda attempt: rounds(len(course.span(attempt)), plan.micro_batch_size, plan.processes),
        objective=config.objective,
        peak_learning_rate=config.optimizer.learning_rate,
        curve=curve,
        updates=plan.updates,
        updates_per_epoch=plan.updates_per_epoch,
        gradient_clip=config.training.gradient_clip,
        dropout_seed=config.seed_of("dropout"),
        due=what_is_due(config, plan, measuring),
        evaluate=measuring,
        save=saving(trainer, built, curve, checkpoints),
        metrics=metrics,
        samples=samples,
        progress=progress,
        stop=stop,
        stop_at=trainer.stop_at,
        watchdog=watchdog,
        consensus=Consensus(accelerator, stop, watchdog),
        recovery=build_recovery(trainer, built, checkpoints, batches, logs, is_main=is_main),
        state=state,
        saved_at=state.updates if checkpoint else -1,
        unmeasured=unmeasured,
    )


def _restore(
    trainer: Trainer, built: Built, checkpoints: CheckpointManager, checkpoint: Checkpoint, curve: Curve
) -> TrainState:
    state = checkpoints.load(checkpoint, changes=trainer.accepted)
    here = moment(trainer.config, built, curve, state)
    require_same_moment(checkpoint, here, may_change=bool(trainer.accepted))
    return state


def _subject(
    config: ExperimentConfig, data: Data, built: Built, accelerator: Accelerator, interruption: Interruption
) -> Subject:
    return Subject(
        model=built.model,
        device=accelerator.device,
        encoder=data.encoder,
        held_out=open_held_out(data.corpus, data.encoder),
        context=config.data.context,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        reduce=interruption.reduce,
    )


def _checkpoints(
    trainer: Trainer, data: Data, plan: RunPlan, accelerator: Accelerator, checkpoint: Checkpoint | None
) -> CheckpointManager:
    config, run = trainer.config, trainer.run
    facts = checkpoint_facts(config, data.corpus, plan, run.run_id() if accelerator.is_main_process else "")
    if checkpoint is not None:
        require_same_data(checkpoint, facts)
    return CheckpointManager(
        run.checkpoints,
        accelerator,
        tokenizer=data.corpus.tokenizer_folder,
        facts=facts,
        keep_resumable=config.checkpoints.keep_resumable,
    )


def _obey_before_the_first_update(stop: StopRequest) -> None:
    if stop.reason:
        raise stop.obey(stop.reason, "before the first update; tokens that are prepared stay in the cache.")


def _prepare(
    config: ExperimentConfig, folders: list[Path], say: Callable[[str], None], look: Callable[[], None]
) -> PreparedCorpus:
    last = ""

    def show(stage: str, share: float) -> None:
        nonlocal last
        reach(f"prepare.{stage.split()[0]}")
        look()
        if stage != last:
            say(f"preparing: {stage} ...")
            last = stage

    return prepare_corpus(
        sources=config.corpus.sources,
        validation=config.corpus.validation,
        tokenizer=config.tokenizer,
        seed=config.seed_of("data"),
        folders=folders,
        cache=default_cache_folder(),
        progress=show,
    )


def _build_model(config: ExperimentConfig, encoder: TextEncoder) -> PreTrainedModel:
    vocabulary = Vocabulary(encoder.vocab_size, encoder.bos_id, encoder.eos_id, encoder.pad_id)
    model = config.model.build(vocabulary, config.data.context)
    generator = torch.Generator().manual_seed(derive_seed(config.seed_of("weights"), "weights"))
    config.initialization.initialize(model, generator)
    if config.training.gradient_checkpointing:
        model.gradient_checkpointing_enable()  # type: ignore[no-untyped-call]
    return model


def _model_facts(model: PreTrainedModel, context: int) -> ModelFacts:
    counts = count_parameters(model)
    return ModelFacts(
        parameters=counts["total"],
        embedding_parameters=counts["embedding"],
        flops_per_token=flops_per_token(model, context),
    )
