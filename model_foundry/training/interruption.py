"""Work between two updates that a request to stop breaks off, on all ranks at the same place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from model_foundry.training.stopping import StopRequest
from model_foundry.training.watchdog import Watchdog


class Interrupted(BaseException):
    """Leaves an evaluation; not an Exception, so that no evaluator takes it for a failure of its own."""


class Interruption:
    """Looks for requests at every forward pass, and agrees on them wherever the ranks meet.

    A rank that notices a request leaves its work and waits at the next meeting: where results are joined, or
    the end of the work. There all ranks learn of it and leave, too, so none waits for one that never comes.

    Args:
        accelerator: The run's.
        model: Its forward passes are looked at.
        stop: The requests.
        watchdog: Is told that work goes on.
    """

    def __init__(
        self, accelerator: Accelerator, model: torch.nn.Module, stop: StopRequest, watchdog: Watchdog
    ) -> None:
        self._accelerator = accelerator
        self._model = model
        self._stop = stop
        self._watchdog = watchdog

    def run(self, work: Callable[[], None]) -> bool:
        """Return whether ``work`` was done to its end, on all ranks."""
        # A scorer may call the body of a model alone, where only some of its logits are needed.
        modules = {self._model, getattr(self._model, "base_model", self._model)}
        hooks = [module.register_forward_pre_hook(self._look) for module in modules]
        asked = False
        try:
            work()
        except Interrupted as interrupted:
            if interrupted.args:  # agreed already
                return False
            asked = True
        finally:
            for hook in hooks:
                hook.remove()
        return not self._agree(asked)

    def gather(self, mine: list[Any]) -> list[Any]:
        """Join the lists of all processes, for work that is done in shares."""
        if self._agree(False):
            raise Interrupted("agreed")
        joined: list[Any] = gather_object(mine)
        return joined

    def _look(self, model: torch.nn.Module, inputs: Any) -> None:
        self._watchdog.beat("evaluation")
        if self._stop.is_asked_anywhere:
            raise Interrupted

    def _agree(self, asked: bool) -> bool:
        if self._accelerator.num_processes == 1:
            return asked
        self._watchdog.beat("evaluation", waits=True)
        flag = torch.tensor([asked], dtype=torch.int64, device=self._accelerator.device)
        return bool(self._accelerator.reduce(flag, "sum"))
