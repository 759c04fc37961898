"""Contract for evaluators: measurements of one model at one point of its training.

An evaluator may not draw from any ambient generator: a run with evaluation has the weights of one without.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from model_foundry.parts import Part
from model_foundry.units import Interval

if TYPE_CHECKING:
    import torch

    from model_foundry.corpus.encoder import TextEncoder
    from model_foundry.data.stream import TokenStream


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a model in evaluation mode, its tokenizer, and the held-out text by source."""

    model: torch.nn.Module
    device: torch.device
    encoder: TextEncoder
    held_out: dict[str, TokenStream]
    context: int
    documents: Literal["concatenate", "isolate", "pad"] = "concatenate"
    rank: int = 0
    processes: int = 1
    reduce: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor
    """Sums a tensor over the processes."""


class Evaluator(Part):
    """Settings of one evaluator; its results are called ``<name>/<measure>``."""

    needs_held_out: ClassVar[bool] = True
    """Whether it measures the corpus's held-out text; false for one that brings its own."""

    every: Interval | None = None
    """How often during training, update 0 and the last one included."""

    at: Literal["end", "checkpoints"] = "end"
    """When, where ``every`` is not given."""

    @abstractmethod
    def evaluate(self, subject: Subject, folders: list[Path]) -> dict[str, float]:
        """Return the measures of ``subject``.

        With several processes each may do a share, and all return the whole.
        """
