"""Contract for training objectives: a sum over targets and their number, never their ratio.

Shape letters: B windows, T tokens a window, V vocabulary, N counted targets.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypedDict

from model_foundry.model import Direction
from model_foundry.parts import Part

if TYPE_CHECKING:
    import torch

IGNORED = -100
"""A target with this value is not counted."""


class Batch(TypedDict, total=False):
    """One micro-batch. ``targets_BT`` is already shifted: it holds the token after each of ``ids_BT``."""

    ids_BT: torch.Tensor
    targets_BT: torch.Tensor
    positions_BT: torch.Tensor  # place within the document; absent where attention crosses documents
    exposure: torch.Tensor  # int64 (4,): targets, words, bytes, documents of the micro-batch


@dataclass
class LossSum:
    """What an objective returns: the loop divides once, over the whole update."""

    total: torch.Tensor
    """What is minimised, summed over the targets; carries the gradient."""

    nats: torch.Tensor
    """Cross-entropy alone, summed over the targets, detached."""

    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    """Further sums to report apart, such as ``z_loss``; detached."""


class Objective(Part):
    """Settings of one objective."""

    directions: ClassVar[frozenset[Direction]] = frozenset({"causal", "any"})
    """The architectures that it can train."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> LossSum:
        """Sum the loss over the counted targets of one micro-batch.

        Args:
            model: Maps ``ids_BT`` to an output with ``logits`` (BTV).
            batch: One micro-batch on the model's device.
        """
