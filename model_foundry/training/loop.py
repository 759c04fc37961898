"""The loop: evaluate if due, save if due, stop if done, else one update."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from fractions import Fraction

import torch
from accelerate import Accelerator

from model_foundry.failpoints import reach
from model_foundry.objective import Batch, Objective
from model_foundry.schedule import Curve
from model_foundry.seeds import derive_seed
from model_foundry.training.carried import CarriedState
from model_foundry.training.compiling import as_written
from model_foundry.training.consensus import Consensus
from model_foundry.training.duties import Due, Measure, Save
from model_foundry.training.lines import update_line
from model_foundry.training.loss_scale import LossScale
from model_foundry.training.metrics import JsonLog, Throughput, peak_memory_bytes
from model_foundry.training.nonfinite import Attempt, Recovery, spoil_if_asked
from model_foundry.training.progress import Progress
from model_foundry.training.replicas import require_equal_replicas
from model_foundry.training.sharding import gathered
from model_foundry.training.state import TrainState
from model_foundry.training.stopping import StopRequest
from model_foundry.training.watchdog import Watchdog
from model_foundry.training.weights import weights_for_use


@dataclass
class TrainingLoop:
    """Runs updates until the plan's last one.

    Model, optimizer and batches are prepared by ``accelerator``; ``batches`` begins at ``state.attempt`` and
    gives ``rounds(attempt)`` micro-batches an attempt to this process.
    """

    accelerator: Accelerator
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    batches: Iterator[Batch]
    rounds: Callable[[int], int]
    objective: Objective
    peak_learning_rate: float
    curve: Curve
    updates: int
    epochs: Callable[[int], Fraction]
    gradient_clip: float | None
    dropout_seed: int
    due: Due
    evaluate: Measure
    save: Save
    metrics: JsonLog
    samples: JsonLog
    progress: Progress
    stop: StopRequest
    watchdog: Watchdog
    consensus: Consensus
    recovery: Recovery
    carried: CarriedState
    state: TrainState = field(default_factory=TrainState)
    stop_at: int | None = None
    """Save and end after this update as if it were the last, on the curves of the whole run: for replays."""

    before: TrainState | None = None
    """The state one update ago; None at the beginning of the run."""

    saved_at: int = -1
    """Updates of the newest resumable checkpoint; at a resume, those of the one that was loaded."""

    unmeasured: tuple[str, ...] = ()
    """What is to be measured still, because a request to stop broke it off."""

    is_checkpoint_wanted: bool = False
    """Whether a person asked for a checkpoint after the update that goes on."""

    has_failed_save: bool = False
    """Whether a save in the background failed since the last update."""

    stall_seconds: float = 0.0
    """How long training stood still for checkpoints since the last logged update."""

    throughput: Throughput = field(default_factory=Throughput)
    held: list[Batch] = field(default_factory=list)
    """What the attempt that goes on has; the same again where only the loss scale was too high."""

    def __post_init__(self) -> None:
        """Begin without an overflow."""
        self.loss_scale = LossScale(self.accelerator, self.optimizer)

    def run(self) -> TrainState:
        """Train to the end.

        Returns:
            The clock after the last update.

        Raises:
            Preempted: When asked to stop; the state was saved.
            DivergedError: When loss or gradient is not finite; the weights before that update are kept.
        """
        began_at, resumed_at = self.state.updates, self.saved_at
        stop_reason = self.consensus.on_stopping()
        while True:
            is_last, is_new = self.state.updates >= self.updates, self.state.updates != resumed_at
            is_end = is_last or self.state.updates == self.stop_at
            if stop_reason is None and (is_new or self.unmeasured) and not self.measure_if_due(is_last):
                stop_reason = self.stop.reason_anywhere
            if stop_reason is not None and is_new and not self.unmeasured:
                self.unmeasured = self.due.evaluation(self.before, self.state, is_last)  # for whoever resumes
            if stop_reason is not None and self.state.updates == began_at:
                raise self.stop.obey(stop_reason, "before the first update; there was nothing to save.")
            if is_new:
                self.save_if_due(is_end or stop_reason is not None)
                if stop_reason is None and self.saved_at == self.state.updates:
                    stop_reason = self.consensus.on_stopping()  # asked during the save: it was the last one
            if is_end or stop_reason is not None:
                self.save.settle(must=True)
            if is_end and not self.unmeasured:
                return self.state
            if stop_reason is not None:
                raise self.stop.obey(stop_reason, f"after update {self.state.updates}; the state is saved.")
            self.before = self.state
            self.throughput.phases.enter("other")
            stop_reason = self.update()
            self.throughput.phases.enter(None)
            if self.has_failed_save:
                self.save.settle(must=False)

    def close(self) -> None:
        """Leave the last state on the screen and close the logs."""
        self.save.close()
        self.progress.stop()
        self.metrics.close()
        self.samples.close()

    def measure_if_due(self, is_last: bool) -> bool:
        """Measure, without touching the training's randomness or mode; false when that was broken off."""
        due = self.unmeasured or self.due.evaluation(self.before, self.state, is_last)
        if not due:
            return True
        self.watchdog.beat("evaluation", update=self.state.updates)
        self.model.eval()
        with torch.no_grad(), weights_for_use(self.optimizer), as_written(self.model):
            is_done = self.evaluate(self.state, due)
        self.model.train()
        self.unmeasured = () if is_done else due
        return is_done

    def save_if_due(self, must: bool) -> None:
        """Publish the state: milestones, rolling states, the first and the last one, and on demand."""
        before, now, is_wanted = self.before, self.state, self.is_checkpoint_wanted
        milestone = self.due.milestone.falls_on(before, now) or before is None or is_wanted
        rolling = self.due.rolling.falls_on(before, now) or before is None or is_wanted
        if not (milestone or rolling or must or self.save.is_best(now)):
            return
        resumable = must or rolling or self.due.resumable_milestone.falls_on(before, now)
        began = time.monotonic()
        self.watchdog.beat("save", update=now.updates)
        self.metrics.sync()
        milestone = milestone or now.updates >= self.updates
        flags = {"resumable": resumable, "milestone": milestone, "must": must}
        with weights_for_use(self.optimizer):
            is_saved = self.save(now, **flags, unmeasured=self.unmeasured)
        if is_saved and resumable:
            self.saved_at = now.updates
        self.stall_seconds += time.monotonic() - began
        if is_wanted:
            self.is_checkpoint_wanted = False
            self.stop.checkpoint_was_made()

    def update(self) -> str | None:
        """Take one optimizer update; what is not finite is passed over as the recipe says.

        Returns:
            Why to stop, where any rank was asked to.
        """
        self.throughput.begin()
        attempt, stop_reason = self.attempt()
        while not attempt.is_finite:
            if not self.loss_scale.was_lowered(attempt):
                self.pass_over(attempt)
            attempt, stop_reason = self.attempt()
        learning_rate = self.peak_learning_rate * self.curve(self.state.updates)
        self.throughput.phases.enter("optimizer")
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        self.optimizer.step()
        self.carried.commit()
        self.held = []
        self.optimizer.zero_grad()
        self.throughput.phases.enter("other")
        before, self.state = self.state, self.state.after(attempt.exposure)
        self.throughput.end(attempt.exposure[0], self.state.updates)
        if self.due.replica_check.falls_on(before, self.state):
            require_equal_replicas(self.accelerator, self.model, self.state.updates)
        if self.due.logging.falls_on(before, self.state) or self.state.updates in (1, self.updates):
            self.log(attempt, learning_rate)
        return stop_reason

    def attempt(self) -> tuple[Attempt, str | None]:
        """Compute the gradient of the next attempt over all its micro-batches; the weights stay as they are.

        Returns:
            The attempt, and why to stop, where any rank was asked to.
        """
        number, enter = self.state.attempt, self.throughput.phases.enter
        self.watchdog.beat("update", update=self.state.updates)
        reach(f"update.{self.state.updates + 1}")
        enter("data")
        micro_batches = self.held = self.held or [
            self.throughput.wait.next(self.batches) for _ in range(self.rounds(number))
        ]
        enter("other")
        exposure, num_targets = self.consensus.on_exposure(micro_batches)
        # The update's loss is one mean over its targets; backward averages over processes, hence the factor.
        scale = self.accelerator.num_processes / max(1, num_targets)
        nats = torch.zeros((), device=self.accelerator.device)
        extras: dict[str, torch.Tensor] = {}
        for index, batch in enumerate(micro_batches):
            torch.manual_seed(
                derive_seed(self.dropout_seed, "dropout", number, index, self.accelerator.process_index)
            )
            reach(f"update.{self.state.updates + 1}.{index}")
            is_final = index == len(micro_batches) - 1
            with nullcontext() if is_final else self.accelerator.no_sync(self.model):
                enter("forward")
                loss = self.objective.loss(self.model, self.carried.give(batch, is_first=index == 0))
                enter("backward")
                self.accelerator.backward(loss.total * scale)
            enter("other")
            nats += loss.nats
            for name, value in loss.extras.items():
                extras[name] = extras[name] + value if name in extras else value
        spoil_if_asked(number + 1, nats, self.model)
        enter("optimizer")
        most = self.gradient_clip or math.inf
        grad_norm = float(gathered(self.accelerator.clip_grad_norm_(self.model.parameters(), most)))
        enter("other")
        agreed = self.consensus.on_numbers(nats, grad_norm)
        self.is_checkpoint_wanted, self.has_failed_save = agreed.wants_checkpoint, agreed.has_failed
        sums = {name: float(self.accelerator.reduce(value, "sum")) for name, value in extras.items()}
        found = Attempt(number, exposure, num_targets, agreed.nats, grad_norm, agreed.is_finite, sums)
        return found, agreed.stop_reason

    def pass_over(self, attempt: Attempt) -> None:
        """Do without an attempt whose loss or gradient is not finite.

        Raises:
            DivergedError: When the recipe says to stop; the state before it is saved.
        """
        self.optimizer.zero_grad()
        self.held = []
        self.recovery.report(attempt, self.state)
        self.save.settle(must=False)  # what is published beside training is what a run may go back to
        if self.recovery.is_exhausted(self.state):
            if self.saved_at != self.state.updates:
                self.save_if_due(must=True)
            raise self.recovery.diverged(self.state, attempt)
        if self.recovery.policy.action == "skip":
            self.state = self.state.after_skip(attempt.exposure)
        else:
            self.state = self.before = self.recovery.rewound(self.state, attempt)
            self.batches = self.recovery.open_batches(self.state)

    def log(self, attempt: Attempt, learning_rate: float) -> None:
        """Write one line of ``metrics.jsonl``; the loss is that of this update alone."""
        times = {
            **self.throughput.read(self.state.updates),
            **self.throughput.phases.read(),
            **self.loss_scale.read(),
            "checkpoint_stall_seconds": self.stall_seconds,
            "peak_memory_bytes": peak_memory_bytes(self.accelerator.device),
        }
        epoch, self.stall_seconds = float(self.epochs(attempt.number + 1)), 0.0
        line = update_line(self.state, attempt, self.objective, epoch, learning_rate, times)
        self.metrics.write(line)
        self.progress.update(line)
