"""The model whole, for as long as it is measured, where its tensors lie in parts otherwise.

Evaluators run it on shares of their own, some of them parts of it alone, and stop where they like; a sharded
model would need all processes at each forward pass. So each process gathers the weights, and lets go of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from model_foundry.planning.states import without_contents
from model_foundry.training.sharding import gathered

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WholeModel:
    """A model without contents, into which those of a sharded one are gathered for a while.

    Args:
        model: As it is before it is placed.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = without_contents(model)
        self.model.train(False)

    @contextmanager
    def filled_from(self, sharded: torch.nn.Module, device: torch.device) -> Iterator[None]:
        """Hold the weights that ``sharded`` has now, in 4 bytes a parameter; all processes call this."""
        empty, parts = dict(self.model.named_parameters()), dict(sharded.named_parameters())
        for name, mine in empty.items():
            whole = gathered(parts[name].detach()).to(device)
            _swap(mine, whole)
        torch.nn.Module.to(self.model, device)  # the buffers
        try:
            yield
        finally:
            for mine in empty.values():
                _swap(mine, torch.empty_like(mine, device="meta"))


def _swap(parameter: torch.nn.Parameter, content: torch.Tensor) -> None:
    """Give a parameter another content; it stays the same object in all modules that share it."""
    other = torch.nn.Parameter(content, parameter.requires_grad)
    torch.utils.swap_tensors(parameter, other)  # type: ignore[no-untyped-call]
