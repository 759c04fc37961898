"""What the processes of a run agree on around an update: what it shows, whether it is sound, requests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from model_foundry.objective import Batch
from model_foundry.training.stopping import REASONS, StopRequest
from model_foundry.training.watchdog import Watchdog


@dataclass(frozen=True)
class Agreed:
    """What all processes know of an update once its gradient is there."""

    nats: float
    """Loss of all processes, summed over their targets."""

    is_finite: bool
    """Whether every process's loss and gradient are."""

    stop_reason: str | None
    """Why to stop after it, where any process was asked to."""

    wants_checkpoint: bool
    """Whether a person asked for a checkpoint after it."""

    has_failed: bool
    """Whether a save in the background failed."""


class Consensus:
    """Sums over the processes; with one process nothing is sent.

    Args:
        accelerator: The run's.
        stop: What this process was asked for.
        watchdog: Is told when this process waits for the others.
        has_failed: Whether a save in the background failed, as far as this process knows.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        stop: StopRequest,
        watchdog: Watchdog,
        has_failed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._has_failed = has_failed
        self._accelerator = accelerator
        self._stop = stop
        self._watchdog = watchdog

    def on_exposure(self, micro_batches: list[Batch]) -> tuple[list[int], int]:
        """Sum what an update shows: tokens, words, bytes and documents; and how many targets it counts."""
        shown = torch.stack([batch["exposure"] for batch in micro_batches]).sum(0)
        counted = [batch.get("counted", batch["exposure"][0]) for batch in micro_batches]
        mine = torch.cat([shown, torch.stack(counted).sum(0, keepdim=True)])
        summed = mine if self._accelerator.num_processes == 1 else self._sum(mine, "update")
        *exposure, num_targets = summed.tolist()
        return exposure, num_targets

    def on_numbers(self, nats: torch.Tensor, grad_norm: float) -> Agreed:
        """Sum the loss and learn whether all is finite; with it travels what any process was asked for."""
        reason, wants_checkpoint = self._stop.reason, self._stop.wants_checkpoint
        has_failed = self._has_failed()
        if self._accelerator.num_processes == 1:
            total = float(nats)
            is_finite = math.isfinite(total) and math.isfinite(grad_norm)
            return Agreed(total, is_finite, reason, wants_checkpoint, has_failed)
        # A number times 0 is 0 where it is finite, and not a number where it is not: so one sum tells all.
        rest = torch.tensor([grad_norm * 0, reason is not None, wants_checkpoint, has_failed])
        mine = torch.cat([nats.view(1), rest.to(nats)])
        total, zero, stops, saves, fails = self._sum(mine, "update").tolist()
        stop_reason = self._reason_of_any(reason) if stops else None
        return Agreed(total, math.isfinite(total) and zero == 0, stop_reason, saves > 0, fails > 0)

    def on_stopping(self) -> str | None:
        """Return why to stop, where any process was asked to; called by all of them between two updates."""
        reason = self._stop.reason
        if self._accelerator.num_processes == 1:
            return reason
        asked = torch.tensor([reason is not None], dtype=torch.int64, device=self._accelerator.device)
        return self._reason_of_any(reason) if self._sum(asked, "boundary") else None

    def _reason_of_any(self, mine: str | None) -> str:
        """Return the own reason, else that of the first process that has one; all of them call this."""
        place = 0 if mine is None else 1 + REASONS.index(mine)
        places: list[int] = self._accelerator.gather(
            torch.tensor([place], device=self._accelerator.device)
        ).tolist()
        if mine is not None:
            return mine
        rank = next(rank for rank, place in enumerate(places) if place)
        return self._stop.told(REASONS[places[rank] - 1], rank)

    def _sum(self, mine: torch.Tensor, doing: str) -> torch.Tensor:
        self._watchdog.beat(doing, waits=True)
        summed: torch.Tensor = self._accelerator.reduce(mine, "sum")
        self._watchdog.beat(doing)
        return summed
