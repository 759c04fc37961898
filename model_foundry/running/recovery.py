"""How a run's loop gets its batches, and what it goes back to when a number is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from accelerate import Accelerator

from model_foundry.data.loader import UpdateSampler, build_loader
from model_foundry.data.mixture import AnyCourse
from model_foundry.errors import DivergedError
from model_foundry.objective import Batch
from model_foundry.training.checkpointing import CheckpointManager, find_checkpoint
from model_foundry.training.metrics import JsonLog
from model_foundry.training.nonfinite import Attempt, Recovery
from model_foundry.training.state import TrainState

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.running.best import BestCheckpoint
    from model_foundry.running.building import Built
    from model_foundry.trainer import Trainer


def open_batches(
    config: ExperimentConfig, built: Built, accelerator: Accelerator
) -> Callable[[TrainState], Iterator[Batch]]:
    """Return what opens this process's batches from a state on, prepared by the accelerator."""

    def open_from(state: TrainState) -> Iterator[Batch]:
        plan = built.plan
        sampler = UpdateSampler(
            built.course,
            start=state.attempt,
            stop=plan.updates + len(state.passed_over) + config.training.on_nonfinite.times,
            micro_batch_size=plan.micro_batch_size,
            processes=plan.processes,
            passed_over=state.passed_over,
            sizes=built.padded_sizes,
        )
        loader = build_loader(
            built.course,
            sampler,
            workers=config.data.workers,
            seed=config.seed_of("data"),
            arrangement=built.arrangement,
            rows=built.rows,
        )
        return iter(accelerator.prepare(loader))

    return open_from


def build_recovery(
    trainer: Trainer,
    built: Built,
    checkpoints: CheckpointManager,
    batches: Callable[[TrainState], Iterator[Batch]],
    logs: tuple[JsonLog, ...],
    best: BestCheckpoint,
    *,
    is_main: bool,
) -> Recovery:
    """Return what the loop does when a loss or a gradient is not finite.

    Args:
        trainer: Recipe and run.
        built: Which window stands where.
        checkpoints: Where the run goes back to.
        batches: Opens them from a state on.
        logs: Are cut back with the run.
        best: Goes back with it.
        is_main: Whether this process writes the run's records.
    """
    policy, run = trainer.config.training.on_nonfinite, trainer.run

    def report(attempt: Attempt, state: TrainState) -> None:
        if is_main:
            run.event(
                "non_finite",
                update=state.updates + 1,
                attempt=attempt.number,
                loss_nats=str(attempt.nats),  # as text: JSON has no word for what is not a number
                grad_norm=str(attempt.grad_norm),
                policy=str(policy),
                windows=windows_of(built.course, attempt.number),
            )

    def restore() -> TrainState:
        tell = run.event if is_main else lambda kind, **facts: None
        checkpoint = find_checkpoint(run.checkpoints, run.status().get("run_id"), tell=tell)
        if checkpoint is None:
            raise DivergedError(
                f"{run.checkpoints}: the loss or the gradient is not finite, and there is no checkpoint to "
                "go back to. Lower the learning rate and start a new run."
            )
        state = checkpoints.load(checkpoint, changes=trainer.accepted)
        best.resume(checkpoint)
        for log in logs:
            log.cut(state.updates)
        if is_main:
            run.event("rewind", checkpoint=checkpoint.path.name)
        return state

    return Recovery(policy, report, restore, batches, run / "events.jsonl")


def windows_of(course: AnyCourse, attempt: int) -> list[dict[str, Any]]:
    """Return where the windows of an attempt stand, and which of which source they are."""
    places = [(position, course.place(position)) for position in course.span(attempt)]
    names = [windows.stream.name for windows in course.windows]
    return [
        {"position": position, **asdict(place), "source": names[place.source]} for position, place in places
    ]
