"""What happens when the loop says save: the facts of the moment, and what a failed save means for the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from model_foundry.errors import CheckpointError, ResourceError
from model_foundry.records import position_facts
from model_foundry.units import Duration

if TYPE_CHECKING:
    from model_foundry.building import Built
    from model_foundry.config.plan import RunPlan
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.schedule import Curve
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint
    from model_foundry.training.checkpointing import CheckpointManager
    from model_foundry.training.loop import Save
    from model_foundry.training.state import TrainState

log = logging.getLogger(__name__)


def saving(trainer: Trainer, built: Built, curve: Curve, checkpoints: CheckpointManager) -> Save:
    """Return what the loop calls to save.

    Args:
        trainer: Recipe and run.
        built: Model and plan.
        curve: The learning rate, as a share of its peak.
        checkpoints: Saves and publishes.
    """
    run, model = trainer.run, built.model

    def save(
        now: TrainState, *, resumable: bool, milestone: bool, must: bool, unmeasured: tuple[str, ...]
    ) -> bool:
        try:
            record = {**moment(trainer.config, built, curve, now), "unmeasured": unmeasured}
            checkpoints.save(now, model, resumable=resumable, milestone=milestone, record=record)
        except ResourceError as error:
            if trainer.config.checkpoints.on_save_error == "stop" or must:
                raise
            log.error("training goes on (checkpoints.on_save_error: continue): %s", error)
            if checkpoints.is_main:
                run.event("save_failed", update=now.updates, message=str(error))
            return False
        if checkpoints.is_main:
            run.set_status("running", update=now.updates, last_good_checkpoint=checkpoints.last_good)
            facts = {"name": checkpoints.last_good, "manifest": checkpoints.last_digest}
            run.event("checkpoint", update=now.updates, resumable=resumable, **facts)
        return True

    return save


def moment(config: ExperimentConfig, built: Built, curve: Curve, state: TrainState) -> dict[str, Any]:
    """Return what a checkpoint records of its moment beside the clock."""
    return {
        "max_steps": built.plan.updates,
        "epoch": state.attempt / built.plan.updates_per_epoch,
        "learning_rate": config.optimizer.learning_rate * curve(state.updates),
        "data_position": position_facts(built.course, state.attempt),
    }


def require_same_moment(checkpoint: Checkpoint, now: dict[str, Any], *, may_change: bool) -> None:
    """Refuse to go on elsewhere in the data, or at another learning rate, than the checkpoint says.

    Args:
        checkpoint: Where the run goes on.
        now: What a checkpoint would record of this moment.
        may_change: Whether a change of the trajectory was accepted, and with it another learning rate.

    Raises:
        CheckpointError: Naming what differs.
    """
    for key, what in (("data_position", "place in the data"), ("learning_rate", "learning rate")):
        if checkpoint.record.get(key) != now[key] and not (may_change and key == "learning_rate"):
            raise CheckpointError(
                f"{checkpoint.path}: the {what} is not the one that was recorded: "
                f"{checkpoint.record.get(key)} then, {now[key]} now. "
                "Use the recipe and the version of this package that the run began with."
            )


def milestones(config: ExperimentConfig, plan: RunPlan) -> list[Duration]:
    """Return the points of the run whose weights are kept, beside its first and its last."""
    return [point for rule in config.checkpoints.schedule for point in rule.points(plan.length)]


def milestones_after(config: ExperimentConfig, plan: RunPlan, updates: int) -> int:
    """Return how many checkpoints with weights that stay are still to come after ``updates``."""
    points = {plan.updates_of(point) for point in milestones(config, plan)} | {0, plan.updates}
    return sum(point > updates for point in points)
