"""The steps between a checked recipe and a trained model."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from model_foundry.config.plan import CorpusFacts, ModelFacts, RunPlan, learning_rate_curve, plan_run
from model_foundry.corpus.encoder import TextEncoder
from model_foundry.corpus.cache import default_cache_folder
from model_foundry.corpus.prepare import prepare_corpus
from model_foundry.corpus.prepared import PreparedCorpus, corpus_manifest
from model_foundry.data.course import Course
from model_foundry.data.loader import UpdateSampler, build_loader, rounds
from model_foundry.data.stream import TokenStream
from model_foundry.data.windows import Windows
from model_foundry.errors import DataError, Preempted
from model_foundry.manifest import json_sha256
from model_foundry.measuring import Measuring
from model_foundry.model import Vocabulary
from model_foundry.model._counting import count_parameters, flops_per_token
from model_foundry.seeds import derive_seed
from model_foundry.training.accelerator import build_accelerator, seed_process
from model_foundry.training.checkpointing import CheckpointManager, tokenizer_sha256
from model_foundry.training.environment import describe_environment, package_versions
from model_foundry.training.loop import Due, TrainingLoop
from model_foundry.training.metrics import JsonLog
from model_foundry.training.progress import Progress
from model_foundry.training.state import Timetable, TrainState
from model_foundry.units import Duration

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.trainer import Trainer
    from model_foundry.training.publishing import Checkpoint
    from model_foundry.training.stopping import StopRequest

log = logging.getLogger(__name__)


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
    config, run = trainer.config, trainer.run
    say: Callable[[str], None] = (lambda text: print(text, flush=True)) if is_main else (lambda text: None)

    # Text and tokens come before the process group: no rank waits in a collective while another tokenises.
    corpus = _prepare(config, trainer.folders, say)
    if stop.reason:
        raise Preempted(
            f"stopped by {stop.reason} before the first update; prepared tokens stay in the cache."
        )
    encoder = TextEncoder(corpus.tokenizer_folder)
    course, held_out = _course(config, corpus, encoder)
    accelerator = build_accelerator(config.training.precision)
    if not is_main:
        trainer.start_logging(accelerator.process_index)
    seed_process(config.seed)

    model = _build_model(config, encoder)
    plan = plan_run(
        config, _corpus_facts(course), _model_facts(model, config.data.context), accelerator.num_processes
    )
    if is_main:
        _record(trainer, corpus, plan)
    say(_summary(config, plan, accelerator))

    start = checkpoint.updates if checkpoint else 0
    sampler = UpdateSampler(
        course,
        start=start,
        stop=plan.updates,
        micro_batch_size=plan.micro_batch_size,
        processes=plan.processes,
    )
    loader = build_loader(course, sampler, workers=config.data.workers, seed=config.seed_of("data"))
    optimizer = config.optimizer.build(model)
    prepared, optimizer, loader = accelerator.prepare(model, optimizer, loader)

    facts = _checkpoint_facts(config, corpus, plan, run.run_id() if is_main else "")
    if checkpoint is not None:
        _require_same_data(checkpoint, facts)
    checkpoints = CheckpointManager(
        run.checkpoints,
        accelerator,
        tokenizer=corpus.tokenizer_folder,
        facts=facts,
        keep_resumable=config.checkpoints.keep_resumable,
    )
    state = checkpoints.load(checkpoint) if checkpoint else TrainState()
    if state.updates:
        say(f"resumed from {checkpoints.last_good}: {state.tokens:,} tokens seen")

    last_kept = state.updates if checkpoint else -1
    metrics = JsonLog(run.metrics if is_main else None, keep_until=last_kept)
    samples = JsonLog(run.samples if is_main else None, keep_until=last_kept)
    progress = Progress(plan.updates, done=state.updates, is_shown=is_main)
    measuring = Measuring(
        config, plan, model, encoder, held_out, accelerator, trainer.folders, metrics, samples, progress
    )
    curve = learning_rate_curve(config, plan)

    def save(now: TrainState, resumable: bool, milestone: bool) -> None:
        record = {
            "max_steps": plan.updates,
            "epoch": now.updates / plan.updates_per_epoch,
            "learning_rate": config.optimizer.learning_rate * curve(now.updates),
        }
        checkpoints.save(now, model, resumable=resumable, milestone=milestone, record=record)
        if is_main:
            run.set_status("running", update=now.updates, last_good_checkpoint=checkpoints.last_good)
            run.event("checkpoint", update=now.updates, name=checkpoints.last_good, resumable=resumable)

    loop = TrainingLoop(
        accelerator=accelerator,
        model=prepared,
        optimizer=optimizer,
        batches=iter(loader),
        rounds=lambda update: rounds(len(course.span(update)), plan.micro_batch_size, plan.processes),
        objective=config.objective,
        peak_learning_rate=config.optimizer.learning_rate,
        curve=curve,
        updates=plan.updates,
        updates_per_epoch=plan.updates_per_epoch,
        gradient_clip=config.training.gradient_clip,
        dropout_seed=config.seed_of("dropout"),
        due=_due(config, plan, measuring),
        evaluate=measuring,
        save=save,
        metrics=metrics,
        progress=progress,
        stop=stop,
        state=state,
    )
    progress.start()
    try:
        final = loop.run()
    finally:
        progress.stop()
        metrics.close()
        samples.close()
    _say_goodbye(say, trainer, measuring, checkpoints)
    return final


def _prepare(config: ExperimentConfig, folders: list[Path], say: Callable[[str], None]) -> PreparedCorpus:
    last = ""

    def show(stage: str, share: float) -> None:
        nonlocal last
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


def _course(
    config: ExperimentConfig, corpus: PreparedCorpus, encoder: TextEncoder
) -> tuple[Course, dict[str, TokenStream]]:
    def stream(source: Any, side: str) -> TokenStream:
        return TokenStream(source.name, source.folder, side, source.manifest, encoder.bytes_per_token)

    windows = [
        Windows(stream(source, "train"), config.data.context, config.data.documents)
        for source in corpus.sources
    ]
    total = sum(len(source.stream) for source in windows)
    if total < config.data.context + 1:
        raise DataError(
            f"corpus: its training part has {total:,} tokens, and one window needs {config.data.context + 1:,} "
            "(data.context + 1). Add text or shorten data.context."
        )
    held_out = [
        source for source in (corpus.held_out or corpus.sources) if "validation" in source.manifest["splits"]
    ]
    course = Course(
        windows,
        seed=config.seed_of("data"),
        mode=config.data.order,
        batch_size=config.training.batch_size,
    )
    return course, {source.name: stream(source, "validation") for source in held_out}


def _corpus_facts(course: Course) -> CorpusFacts:
    targets = sum(windows.num_targets for windows in course.windows)
    streams = [windows.stream for windows in course.windows]
    return CorpusFacts(
        windows=course.windows_per_epoch,
        targets=targets,
        words=sum(stream.num_words for stream in streams),
        bytes=sum(stream.num_bytes for stream in streams),
        documents=sum(stream.num_documents for stream in streams),
        updates=course.updates_per_epoch,
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


def _record(trainer: Trainer, corpus: PreparedCorpus, plan: RunPlan) -> None:
    run = trainer.run
    environment = describe_environment(Path.cwd())
    run.write_json("environment.json", environment)
    run.write_text("command.txt", shlex.join(environment["command"]) + "\n")
    run.write_json("corpus.manifest.json", corpus_manifest(corpus))
    run.write_json("plan.json", plan.as_json())
    run.tokenizer.mkdir(exist_ok=True)
    for file in sorted(corpus.tokenizer_folder.iterdir()):
        (run.tokenizer / file.name).write_bytes(file.read_bytes())


def _checkpoint_facts(
    config: ExperimentConfig, corpus: PreparedCorpus, plan: RunPlan, run_id: str
) -> dict[str, Any]:
    recipe = config.resolved()
    return {
        "run_id": run_id,
        "recipe": recipe,
        "recipe_sha256": json_sha256(recipe),
        "tokenizer_sha256": tokenizer_sha256(corpus.tokenizer_folder),
        "data_sha256": json_sha256([source.manifest["key"] for source in corpus.sources]),
        "world_size": plan.processes,
        "micro_batch_size": plan.micro_batch_size,
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }


def _require_same_data(checkpoint: Checkpoint, facts: dict[str, Any]) -> None:
    for key, what in (("tokenizer_sha256", "tokenizer"), ("data_sha256", "training text")):
        if checkpoint.record[key] != facts[key]:
            raise DataError(
                f"{checkpoint.path}: the {what} is not the one that this run began with (its content changed). "
                "Restore it to resume this run, or start a new run folder."
            )


def _due(config: ExperimentConfig, plan: RunPlan, measuring: Measuring) -> Due:
    def table(points: list[Duration], every: Duration | None = None) -> Timetable:
        return Timetable(points, every=every, updates=plan.updates, updates_per_epoch=plan.updates_per_epoch)

    rules = [(rule, rule.points(plan.length)) for rule in config.checkpoints.schedule]
    milestone = table([point for _, points in rules for point in points])
    return Due(
        evaluation=lambda before, now: measuring.is_due(before, now, milestone.falls_on(before, now)),
        milestone=milestone,
        resumable_milestone=table(
            [point for rule, points in rules if rule.kind == "resumable" for point in points]
        ),
        rolling=table([], config.checkpoints.rolling),
        logging=table([], config.logging.every),
    )


def _summary(config: ExperimentConfig, plan: RunPlan, accelerator: Accelerator) -> str:
    device = accelerator.device.type
    where = f"{plan.processes} x {device}" if plan.processes > 1 else device
    if device == "cpu":
        where += f" ({torch.get_num_threads()} threads)"
    return (
        f"{config.run_name} · {where} · {config.training.precision} · seed {config.seed}\n"
        f"  corpus  {plan.corpus.documents:,} documents · {plan.corpus.words:,} words · {plan.corpus.targets:,} tokens\n"
        f"  model   {plan.model.parameters:,} parameters ({plan.model.embedding_parameters:,} in embeddings)\n"
        f"  run     {plan.updates:,} updates of {plan.tokens_per_update:,} tokens · {plan.epochs:.2f} epochs · "
        f"{len(plan.checkpoints)} checkpoints"
    )


def _say_goodbye(
    say: Callable[[str], None], trainer: Trainer, measuring: Measuring, checkpoints: CheckpointManager
) -> None:
    folder = trainer.run.path
    for line in measuring.last_lines():
        say(line)
    say(f"finished: {folder / 'checkpoints' / str(checkpoints.last_good)}")
    prompt = trainer.config.samples.prompts[0] if trainer.config.samples else "The"
    say(f'  next: model-foundry generate {folder} "{prompt}"')
