"""What happens when the loop says save: the facts of the moment, and what a failed save means for the run."""

from __future__ import annotations

import logging
import sys
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from model_foundry.errors import CheckpointError, ResourceError
from model_foundry.running.records import position_facts
from model_foundry.running.reporting import keep_report_up
from model_foundry.training.aliases import add_alias
from model_foundry.training.checkpoint_files import published
from model_foundry.training.disk import PlannedSave
from model_foundry.training.mirror import Mirror
from model_foundry.training.remote import Remote
from model_foundry.units import Duration

if TYPE_CHECKING:
    from model_foundry.config.plan import RunPlan
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.running.best import BestCheckpoint
    from model_foundry.running.building import Built
    from model_foundry.schedule import Curve
    from model_foundry.trainer import Trainer
    from model_foundry.training.checkpoint_files import Checkpoint
    from model_foundry.training.checkpointing import CheckpointManager
    from model_foundry.training.state import TrainState

log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0  # for copies, where a launcher may wait for the run to end


class Saver:
    """Publishes checkpoints of a run, and says in its records when one is there, or could not be written.

    With ``checkpoints.background`` training goes on when the state is copied; what the writing failed with is
    told at the next update boundary, on all ranks. A save that must succeed is never in the background.

    Args:
        trainer: Recipe and run.
        built: Model and plan.
        curve: The learning rate, as a share of its peak.
        checkpoints: Saves and publishes.
        best: Is told what was saved.
    """

    def __init__(
        self,
        trainer: Trainer,
        built: Built,
        curve: Curve,
        checkpoints: CheckpointManager,
        best: BestCheckpoint,
    ) -> None:
        self._best = best
        self._config, self._run = trainer.config, trainer.run
        self._built, self._curve, self._checkpoints = built, curve, checkpoints
        self._last_update = 0
        self._mirror = self._start_mirror(trainer.mirror) if checkpoints.is_main else None

    def __call__(
        self, now: TrainState, *, resumable: bool, milestone: bool, must: bool, unmeasured: tuple[str, ...]
    ) -> bool:
        """Save the state as it is now; see ``training.loop.Save``."""
        began = time.monotonic()
        self.settle(must=False)
        self._last_update = now.updates
        background = self._config.checkpoints.background and not must

        def tell(checkpoint: Checkpoint) -> None:
            self._published(checkpoint, milestone=milestone)

        try:
            record = {**moment(self._config, self._built, self._curve, now), "unmeasured": unmeasured}
            record["best"] = self._best.saving(now.updates)
            flags = {"resumable": resumable, "milestone": milestone, "background": background}
            self._checkpoints.save(now, self._built.model, record=record, **flags, published=tell)
        except ResourceError as error:
            return self._failed(error, must=must)
        if self._checkpoints.is_main:
            self._run.event("save", update=now.updates, stall_seconds=round(time.monotonic() - began, 4))
        return True

    def is_best(self, now: TrainState) -> bool:
        """Whether what was measured now asks for this state; see ``training.loop.Save``."""
        return self._best.is_due(now.updates)

    @property
    def has_failed(self) -> bool:
        """Whether a save in the background failed, as far as this process knows."""
        return self._checkpoints.has_failed

    def settle(self, *, must: bool) -> bool:
        """Wait for the save in the background; see ``training.loop.Save``."""
        if not self._config.checkpoints.background:
            return True
        try:
            self._checkpoints.settle()
        except ResourceError as error:
            return self._failed(error, must=must)
        return True

    def close(self) -> None:
        """Wait for the save that is under way, however the run ended, and a while for copies elsewhere."""
        self._checkpoints.close()
        if self._mirror is not None:
            is_breaking_off = sys.exc_info()[0] is not None
            timeout = self._config.training.hang_timeout
            self._mirror.close(min(_GRACE_SECONDS, timeout / 2) if is_breaking_off else 0.8 * timeout)

    def _start_mirror(self, address: str | None) -> Mirror | None:
        if address is None:
            return None
        mirror = Mirror(Remote(address), self._run.event)
        mirror.start(reversed(published(self._run.checkpoints)))  # those that are there are passed over
        return mirror

    def _failed(self, error: ResourceError, *, must: bool) -> bool:
        if self._config.checkpoints.on_save_error == "stop" or must:
            raise error
        self._best.failed()
        log.error("training goes on (checkpoints.on_save_error: continue): %s", error)
        if self._checkpoints.is_main:
            self._run.event("save_failed", update=self._last_update, message=str(error))
        return False

    def _published(self, checkpoint: Checkpoint, *, milestone: bool) -> None:
        """Only now it exists: the main process says so, in the thread that wrote it."""
        name, digest = checkpoint.path.name, checkpoint.manifest["digest"]
        self._run.set_status("running", update=checkpoint.updates, last_good_checkpoint=name)
        facts = {"resumable": checkpoint.is_resumable, "name": name, "manifest": digest}
        self._run.event("checkpoint", update=checkpoint.updates, **facts)
        log.info("%s is published; its manifest has the digest %s", name, digest)
        try:
            self._best.published(checkpoint)
        except OSError as error:  # the checkpoint is there without it
            log.warning("the best checkpoint could not be named: %s", error)
        if self._mirror is not None:
            self._mirror.add(checkpoint.path)
        if milestone and self._config.checkpoints.alias is not None:
            try:
                add_alias(self._run.checkpoints, self._config.checkpoints.alias, checkpoint.record, name)
            except OSError as error:  # the checkpoint is there without it
                log.warning("%s could not be named: %s", name, error)
        keep_report_up(self._run.path)


def exports(config: ExperimentConfig, plan: RunPlan) -> Callable[[int], bool]:
    """Return what says after how many updates weights in parts are written whole, too."""
    wanted = config.checkpoints.export
    return lambda updates: wanted == "each" or (wanted == "last" and updates >= plan.updates)


def moment(config: ExperimentConfig, built: Built, curve: Curve, state: TrainState) -> dict[str, Any]:
    """Return what a checkpoint records of its moment beside the clock."""
    return {
        "max_steps": built.plan.updates,
        "epoch": float(built.plan.batches.epochs(state.attempt)),
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


def planned_saves(config: ExperimentConfig, plan: RunPlan, after: int = -1) -> list[PlannedSave]:
    """Return the checkpoints that the run will publish after so many updates, in their order.

    Points in tokens, words or bytes fall where the plan expects them.
    """
    rules = [
        (rule.kind, plan.updates_of(point))
        for rule in config.checkpoints.schedule
        for point in rule.points(plan.length)
    ]
    milestones = {0, plan.updates, *(update for _, update in rules)}
    resumable = {0, plan.updates, *(update for kind, update in rules if kind == "resumable")}
    resumable |= set(interval_ends(plan, config.checkpoints.rolling))
    return [
        PlannedSave(update, update in resumable, update in milestones)
        for update in sorted(milestones | resumable)
        if after < update <= plan.updates
    ]


def interval_ends(plan: RunPlan, every: Duration | None) -> list[int]:
    """Return the updates at which an interval ends; for tokens, words and bytes an estimate."""
    if every is None:
        return []
    if every.unit == "updates":
        return [*range(int(every.amount), plan.updates + 1, int(every.amount))]
    ends, number = set[int](), 1
    while (end := plan.updates_of(Duration(every.amount * number, every.unit))) <= plan.updates:
        ends.add(max(1, end))
        number += 1
    return sorted(ends)


def milestones(config: ExperimentConfig, plan: RunPlan) -> list[Duration]:
    """Return the points of the run whose weights are kept, beside its first and its last."""
    return [point for rule in config.checkpoints.schedule for point in rule.points(plan.length)]


def next_checkpoint(config: ExperimentConfig, plan: RunPlan) -> Callable[[int], int]:
    """Return what gives, for an update, the next one at which a checkpoint is due.

    By words and bytes that is an estimate, as in the plan.
    """
    points = sorted({*(plan.updates_of(point) for point in milestones(config, plan)), plan.updates})
    rolling = config.checkpoints.rolling

    def end_of(intervals: int) -> int:
        assert rolling is not None
        return plan.updates_of(Duration(rolling.amount * intervals, rolling.unit))

    def following(update: int) -> int:
        due = points[min(bisect_right(points, update), len(points) - 1)]
        if rolling is None:
            return due
        return min(due, end_of(1 + bisect_right(range(1, plan.updates + 1), update, key=end_of)))

    return following
