"""What follows when a loss or a gradient is not finite: stop, skip the update, or go back and pass over it.

All processes agree on it before the optimizer's step, so the weights are always those before the bad update.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from model_foundry.config.policy import NonFinitePolicy
from model_foundry.errors import DivergedError
from model_foundry.failpoints import is_active
from model_foundry.objective import Batch
from model_foundry.training.state import TrainState


@dataclass(frozen=True)
class Attempt:
    """One pass over the windows of an update, before the optimizer's step."""

    number: int
    exposure: list[int]
    """Tokens, words, bytes and documents that it showed, over all processes."""

    num_targets: int
    """Counted targets over all processes: what the loss is divided by."""

    nats: float
    """Sum over all targets of all processes; not finite where any process's loss or gradient is not."""

    grad_norm: float
    is_finite: bool
    extras: dict[str, float] = field(default_factory=dict)
    """Further sums of the objective, such as ``z_loss``, over all processes."""


def spoil_if_asked(number: int, nats: torch.Tensor, model: torch.nn.Module) -> None:
    """Spoil the loss or the gradient of an attempt where a failpoint asks for it; 1 is the first."""
    if is_active(f"nonfinite.loss.{number}"):
        nats *= math.nan
    if is_active(f"nonfinite.gradient.{number}"):
        for parameter in model.parameters():
            parameter.grad = None if parameter.grad is None else parameter.grad * math.nan


@dataclass(frozen=True)
class Recovery:
    """What the loop needs to go on after a number that is not finite."""

    policy: NonFinitePolicy
    report: Callable[[Attempt, TrainState], None]
    """Writes down which windows it was."""

    restore: Callable[[], TrainState]
    """Brings model, optimizer, randomness and logs back to the last good checkpoint."""

    open_batches: Callable[[TrainState], Iterator[Batch]]
    """The batches from a state on, without what it passes over."""

    logs: Path

    def is_exhausted(self, state: TrainState) -> bool:
        """Whether the run must stop: the policy says so, or was followed as often as it allows."""
        return len(state.passed_over) >= self.policy.times

    def rewound(self, state: TrainState, attempt: Attempt) -> TrainState:
        """Return the state of the last good checkpoint, which will pass over ``attempt`` and those before."""
        earlier = self.restore()
        return replace(earlier, passed_over=tuple(sorted({*state.passed_over, attempt.number})))

    def diverged(self, state: TrainState, attempt: Attempt) -> DivergedError:
        """Return the error that ends the run."""
        policy = self.policy
        tried = f" once more after '{policy}' of training.on_nonfinite was used up" if policy.times else ""
        found = f"loss {attempt.nats:g} nats, norm of the gradient {attempt.grad_norm:g}"
        return DivergedError(
            f"update {state.updates + 1}: the loss or the gradient is not finite{tried} ({found}). The "
            f"weights of update {state.updates} are kept; its windows are in {self.logs}. Lower "
            "the learning rate, lengthen the warm-up or use fp32; or go on without these windows: "
            f"--resume-from latest training.on_nonfinite='skip {policy.times + 3}'."
        )
