"""The loop: evaluate if due, save if due, stop if done, else one update."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from accelerate import Accelerator

from model_foundry.errors import DivergedError, Preempted
from model_foundry.failpoints import reach
from model_foundry.objective import Batch, Objective
from model_foundry.schedule import Curve
from model_foundry.seeds import derive_seed
from model_foundry.training.metrics import JsonLog, Throughput, peak_memory_bytes
from model_foundry.training.progress import Progress
from model_foundry.training.state import Timetable, TrainState
from model_foundry.training.stopping import StopRequest


@dataclass(frozen=True)
class Due:
    """When something beside an update happens."""

    evaluation: Callable[[TrainState | None, TrainState], bool]
    milestone: Timetable
    """Checkpoints that are kept."""

    resumable_milestone: Timetable
    """Those of them that hold optimizer and random state."""

    rolling: Timetable
    logging: Timetable


class Measure(Protocol):
    """Evaluations and samples of a run."""

    def __call__(self, state: TrainState, is_last: bool) -> None:
        """Measure the model as it is now, and write the results down."""

    def last_lines(self) -> list[str]:
        """Return the last value of each measure, for the end of the run."""


@dataclass
class TrainingLoop:
    """Runs updates until the plan's last one.

    Model, optimizer and batches are prepared by ``accelerator``; ``batches`` begins at ``state.updates`` and
    gives ``rounds(update)`` micro-batches an update to this process.
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
    updates_per_epoch: int
    gradient_clip: float | None
    dropout_seed: int
    due: Due
    evaluate: Measure
    save: Callable[[TrainState, bool, bool], None]
    metrics: JsonLog
    samples: JsonLog
    progress: Progress
    stop: StopRequest
    state: TrainState = field(default_factory=TrainState)
    throughput: Throughput = field(default_factory=Throughput)

    def run(self) -> TrainState:
        """Train to the end.

        Returns:
            The clock after the last update.

        Raises:
            Preempted: When asked to stop; the state was saved.
            DivergedError: When loss or gradient is not finite; the weights before that update are kept.
        """
        resumed_at = self.state.updates if self.state.updates else -1
        before: TrainState | None = None
        stop_reason: str | None = None
        while True:
            is_last = self.state.updates >= self.updates
            if self.state.updates != resumed_at:
                self.evaluate_if_due(before, is_last)
                self.save_if_due(before, is_last or stop_reason is not None)
            if is_last:
                return self.state
            if stop_reason is not None:
                self.stop.acknowledge()
                raise Preempted(
                    f"stopped by {stop_reason} after update {self.state.updates}; the state is saved."
                )
            before = self.state
            stop_reason = self.update()

    def close(self) -> None:
        """Leave the last state on the screen and close the logs."""
        self.progress.stop()
        self.metrics.close()
        self.samples.close()

    def evaluate_if_due(self, before: TrainState | None, is_last: bool) -> None:
        """Measure, without touching the training's randomness or mode."""
        if self.due.evaluation(before, self.state) or is_last:
            self.model.eval()
            with torch.no_grad():
                self.evaluate(self.state, is_last)
            self.model.train()

    def save_if_due(self, before: TrainState | None, must: bool) -> None:
        """Publish the state: milestones, rolling states, the first and the last one."""
        milestone = self.due.milestone.falls_on(before, self.state)
        rolling = self.due.rolling.falls_on(before, self.state)
        if milestone or rolling or must or before is None:
            resumable = (
                must or rolling or self.due.resumable_milestone.falls_on(before, self.state) or before is None
            )
            self.metrics.sync()
            self.save(
                self.state, resumable, milestone or before is None or self.state.updates >= self.updates
            )

    def update(self) -> str | None:
        """Take one optimizer update over all its micro-batches.

        Returns:
            Why to stop, where any rank was asked to.
        """
        self.throughput.begin()
        number = self.state.updates
        reach(f"update.{number + 1}")
        micro_batches = [next(self.batches) for _ in range(self.rounds(number))]
        exposure, stop_reason = self.agree(micro_batches)
        # The update's loss is one mean over all its targets; backward averages over processes, hence the
        # factor.
        scale = self.accelerator.num_processes / max(1, exposure[0])
        nats = torch.zeros((), device=self.accelerator.device)
        for index, batch in enumerate(micro_batches):
            torch.manual_seed(
                derive_seed(self.dropout_seed, "dropout", number, index, self.accelerator.process_index)
            )
            is_final = index == len(micro_batches) - 1
            with nullcontext() if is_final else self.accelerator.no_sync(self.model):
                loss = self.objective.loss(self.model, batch)
                self.accelerator.backward(loss.total * scale)
            nats += loss.nats
        grad_norm = float(
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.gradient_clip or math.inf)
        )
        if not math.isfinite(grad_norm):
            raise DivergedError(
                f"update {number + 1}: the gradient is not finite (norm {grad_norm}). The weights of update {number} are "
                "kept. Lower the learning rate, lengthen the warm-up, or use fp32."
            )
        learning_rate = self.peak_learning_rate * self.curve(number)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate * group.get("lr_scale", 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        before, self.state = self.state, self.state.after(exposure)
        self.throughput.end(exposure[0])
        if self.due.logging.falls_on(before, self.state) or self.state.updates in (1, self.updates):
            self.log(exposure, nats, learning_rate, grad_norm)
        return stop_reason

    def agree(self, micro_batches: list[Batch]) -> tuple[list[int], str | None]:
        """Sum targets, words, bytes and documents over processes; with them travels who was asked to stop."""
        reason = self.stop.reason
        mine = torch.stack([batch["exposure"] for batch in micro_batches]).sum(0)
        if self.accelerator.num_processes == 1:
            return mine.tolist(), reason
        flag = torch.tensor([reason is not None], dtype=mine.dtype, device=mine.device)
        *exposure, asked = self.accelerator.reduce(torch.cat([mine, flag]), "sum").tolist()
        return exposure, (reason or "a request to another process") if asked else None

    def log(self, exposure: list[int], nats: torch.Tensor, learning_rate: float, grad_norm: float) -> None:
        """Write one line of ``metrics.jsonl``; the loss is that of this update alone."""
        total = float(self.accelerator.reduce(nats, "sum"))
        line: dict[str, Any] = {
            "update": self.state.updates,
            "tokens": self.state.tokens,
            "words": self.state.words,
            "bytes": self.state.bytes,
            "documents": self.state.documents,
            "epoch": self.state.updates / self.updates_per_epoch,
            "loss": total / max(1, exposure[0]),
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "tokens_per_second": self.throughput.read(),
            "peak_memory_bytes": peak_memory_bytes(self.accelerator.device),
        }
        if exposure[2]:
            line["bits_per_byte"] = total / math.log(2) / exposure[2]
        self.metrics.write(line)
        self.progress.update(line)
