"""The steps between a checked recipe and a trained model."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from model_foundry.config.compare import leaves
from model_foundry.config.plan import RunPlan, learning_rate_curve
from model_foundry.data.loader import rounds
from model_foundry.failpoints import reach
from model_foundry.logs import tell
from model_foundry.planning.fitting import fit
from model_foundry.planning.states import checkpoint_sizes, without_contents
from model_foundry.running.announcing import in_words
from model_foundry.running.best import BestCheckpoint
from model_foundry.running.building import Built, Data, build_model_and_plan, prepare_data
from model_foundry.running.measuring import what_is_due
from model_foundry.running.part_by_part import build_without_contents, can_be_drawn_in_parts, place
from model_foundry.running.records import checkpoint_facts, goodbye, record_run, require_same_data, summary
from model_foundry.running.recovery import build_recovery, open_batches
from model_foundry.running.saving import (
    Saver,
    exports,
    moment,
    next_checkpoint,
    planned_saves,
    require_same_moment,
)
from model_foundry.running.sharded_runs import (
    require_shardable,
    sizes_in_parts,
)
from model_foundry.running.subject import measuring_of, subject_of
from model_foundry.running.watching import traced, watch, watched
from model_foundry.tracking import TrackedRun
from model_foundry.training.accelerator import build_accelerator, make_deterministic, seed_process
from model_foundry.training.carried import CarriedState
from model_foundry.training.checkpointing import CheckpointManager
from model_foundry.training.compiling import decide
from model_foundry.training.consensus import Consensus
from model_foundry.training.device_peaks import peak_flops
from model_foundry.training.disk import CheckpointSizes, disk_use
from model_foundry.training.following import Followers, require_packages
from model_foundry.training.interruption import Interruption
from model_foundry.training.loop import TrainingLoop
from model_foundry.training.metrics import JsonLog, Throughput
from model_foundry.training.progress import Progress
from model_foundry.training.state import TrainState
from model_foundry.training.waiting import DataWait

if TYPE_CHECKING:
    from accelerate import Accelerator

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.schedule import Curve
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint
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
    say: Callable[[str], None] = tell if is_main else lambda text: None
    loop = build_loop(trainer, checkpoint, stop, is_main=is_main, say=say)
    with watched(loop.watchdog, trainer):
        loop.progress.start()
        try:
            with traced(trainer, loop, say):
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
    require_packages(config.tracking)
    # Text and tokens come before the process group: no rank waits in a collective while another tokenises.
    data = prepare_data(config, trainer.folders, say, lambda: _obey_before_the_first_update(stop))
    accelerator = build_accelerator(
        config.training.precision,
        timeout_seconds=config.training.hang_timeout,
        start_seconds=config.training.start_timeout,
    )
    if not is_main:
        trainer.start_logging(accelerator.process_index)
    require_shardable(config, accelerator)
    seed_process(config.seed)
    if config.training.deterministic:
        make_deterministic()
    training = config.training
    waits = can_be_drawn_in_parts(config, trainer.folders, accelerator)
    build = partial(build_without_contents, config) if waits else None
    built = build_model_and_plan(config, data, accelerator.num_processes, trainer.folders, build)
    fitted = fit(config, built.plan, built.model, data.encoder, accelerator, checkpoint)
    planned, built = built.plan.micro_batch_size, replace(built, plan=fitted.plan(built.plan))
    compiling = decide(training.compile, built.model, built.plan, training.precision, accelerator.device)
    built = replace(built, padded_sizes=compiling.sizes)
    chosen = {"compile": compiling.as_json(), "micro_batch_size_because": fitted.because}
    if is_main:
        record_run(trainer, data, built, chosen)
    reach("built")
    sizes = checkpoint_sizes(config, without_contents(built.model), data.corpus.tokenizer_folder)
    sizes = sizes_in_parts(sizes, accelerator)
    disk = disk_use(planned_saves(config, built.plan), sizes, config.checkpoints.keep_resumable)
    say(summary(config, built.plan, disk, accelerator))
    for line in [*fitted.lines(planned), *compiling.lines(training.compile)]:
        say(line)
    compiling.apply(built.model)
    return _place(trainer, data, built, sizes, accelerator, checkpoint, stop, say)


def _place(
    trainer: Trainer,
    data: Data,
    built: Built,
    sizes: CheckpointSizes,
    accelerator: Accelerator,
    checkpoint: Checkpoint | None,
    stop: StopRequest,
    say: Callable[[str], None],
) -> TrainingLoop:
    config, plan, course = trainer.config, built.plan, built.course
    is_main, curve = accelerator.is_main_process, learning_rate_curve(config, plan)
    model, optimizer, measured = place(config, built, accelerator)
    checkpoints = _checkpoints(trainer, data, built, sizes, accelerator, checkpoint)
    state = _restore(trainer, built, checkpoints, checkpoint, curve, say) if checkpoint else TrainState()
    checkpoints.require_space(planned_saves(config, plan, after=state.updates if checkpoint else -1))
    if is_main:
        trainer.run.set_status("running", bit_exact=not checkpoints.inexact, inexact=checkpoints.inexact)
    unmeasured = tuple(checkpoint.record.get("unmeasured", ())) if checkpoint else ()
    metrics, samples = logs = _logs(trainer, checkpoint, is_main=is_main)
    progress = _progress(trainer, plan, state, is_main=is_main)
    watchdog = watch(trainer, accelerator, stop)
    interruption = Interruption(accelerator, measured.model, stop, watchdog)
    best = BestCheckpoint(config, trainer.run.checkpoints, checkpoint, is_main=is_main)
    subject = subject_of(config, data, measured, accelerator, interruption)
    beside = logs, progress, interruption, best, measured
    measuring = measuring_of(trainer, checkpoint, plan, subject, *beside)
    batches = open_batches(config, built, accelerator)
    saver = Saver(trainer, built, curve, checkpoints, best)
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
        epochs=plan.batches.epochs,
        gradient_clip=config.training.gradient_clip,
        dropout_seed=config.seed_of("dropout"),
        due=what_is_due(config, plan, measuring),
        evaluate=measuring,
        save=saver,
        metrics=metrics,
        samples=samples,
        throughput=_throughput(trainer, plan, accelerator),
        progress=progress,
        stop=stop,
        stop_at=trainer.stop_at,
        watchdog=watchdog,
        consensus=Consensus(accelerator, stop, watchdog, has_failed=lambda: saver.has_failed),
        recovery=build_recovery(trainer, built, checkpoints, batches, logs, best, is_main=is_main),
        state=state,
        carried=checkpoints.carried,
        saved_at=state.updates if checkpoint else -1,
        unmeasured=unmeasured,
    )


def _progress(trainer: Trainer, plan: RunPlan, state: TrainState, *, is_main: bool) -> Progress:
    following = next_checkpoint(trainer.config, plan)
    progress = Progress(plan.updates, done=state.updates, next_checkpoint=following, is_shown=is_main)
    trainer.run.announce = lambda kind, facts: progress.say(in_words(kind, facts))
    return progress


def _throughput(trainer: Trainer, plan: RunPlan, accelerator: Accelerator) -> Throughput:
    def tell(**facts: Any) -> None:
        if accelerator.is_main_process:
            trainer.run.event("slow_data", workers=trainer.config.data.workers, **facts)

    peak = peak_flops(accelerator.device, trainer.config.training.precision)
    return Throughput(plan.flops_per_token, None if peak is None else peak * plan.processes, DataWait(tell))


def _logs(trainer: Trainer, checkpoint: Checkpoint | None, *, is_main: bool) -> tuple[JsonLog, JsonLog]:
    keep = checkpoint.updates if checkpoint else -1
    anew = bool(checkpoint and checkpoint.record.get("unmeasured"))
    run, followers = trainer.run, _followers(trainer, checkpoint) if is_main else None
    metrics = JsonLog(
        run.metrics if is_main else None, keep_until=keep, measures_anew=anew, listener=followers
    )
    samples = JsonLog(run.samples if is_main else None, keep_until=keep, measures_anew=anew)
    return metrics, samples


def _followers(trainer: Trainer, checkpoint: Checkpoint | None) -> Followers | None:
    if not trainer.config.tracking or trainer.stop_at is not None:  # a replay is nobody's to watch
        return None
    run = TrackedRun(
        name=trainer.run.path.resolve().name,
        run_id=trainer.run.run_id(),
        folder=trainer.run.path,
        facts=dict(leaves(trainer.config.resolved())),
        resumed_at=checkpoint.updates if checkpoint else None,
    )
    return Followers(trainer.config.tracking, run, trainer.run.event)


def _restore(
    trainer: Trainer,
    built: Built,
    checkpoints: CheckpointManager,
    checkpoint: Checkpoint,
    curve: Curve,
    say: Callable[[str], None],
) -> TrainState:
    state = checkpoints.load(checkpoint, changes=trainer.accepted)
    here = moment(trainer.config, built, curve, state)
    require_same_moment(checkpoint, here, may_change=bool(trainer.accepted))
    say(f"resumed from {checkpoint.path.name}: {state.tokens:,} tokens seen")
    return state


def _carried(config: ExperimentConfig, plan: RunPlan, accelerator: Accelerator) -> CarriedState:
    shapes = config.model.carried_shapes
    return CarriedState(accelerator, shapes, lanes=plan.batch_size, micro_batch_size=plan.micro_batch_size)


def _checkpoints(
    trainer: Trainer,
    data: Data,
    built: Built,
    sizes: CheckpointSizes,
    accelerator: Accelerator,
    checkpoint: Checkpoint | None,
) -> CheckpointManager:
    config, run = trainer.config, trainer.run
    facts = checkpoint_facts(config, data.corpus, built, run.run_id() if accelerator.is_main_process else "")
    if checkpoint is not None:
        require_same_data(checkpoint, facts)
    return CheckpointManager(
        run.checkpoints,
        accelerator,
        tokenizer=data.corpus.tokenizer_folder,
        facts=facts,
        keep_resumable=config.checkpoints.keep_resumable,
        carried=_carried(config, built.plan, accelerator),
        tell=run.event,
        sizes=sizes,
        exports=exports(config, built.plan),
    )


def _obey_before_the_first_update(stop: StopRequest) -> None:
    if stop.reason:
        raise stop.obey(stop.reason, "before the first update; tokens that are prepared stay in the cache.")
