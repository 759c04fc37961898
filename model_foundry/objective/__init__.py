"""Contract for training objectives: a sum over targets and their number, never their ratio.

Shape letters: B windows, T tokens a window, V vocabulary, N counted targets.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypedDict

from model_foundry.model import Direction
from model_foundry.parts import Part

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

IGNORED = -100
"""A target with this value is not counted."""


class Batch(TypedDict, total=False):
    """One micro-batch. Each of ``targets_BT`` is what the logits of its own place are to predict.

    Where no objective says otherwise that is the token after the one of ``ids_BT``: shifted already.
    """

    ids_BT: torch.Tensor
    targets_BT: torch.Tensor
    positions_BT: torch.Tensor  # place within document and row; absent where attention crosses documents
    segments_BT: torch.Tensor  # arranged rows: number of the document, 0 for padding; absent where all are 1
    causal_B: torch.Tensor  # arranged rows of models that obey a mask: whether places see none behind them
    lanes_B: torch.Tensor  # int64: the lane of each row; absent where the order of the data has none
    continues_B: torch.Tensor  # bool: whether a row goes on where its lane stood in the update before
    state: Any  # what a recurrent model's rows go on from, in place of its cache; absent: from nothing
    exposure: torch.Tensor  # int64 (4,): tokens, words, bytes, documents that the micro-batch shows
    counted: torch.Tensor  # int64 (): its counted targets; absent where they are the tokens shown


@dataclass
class LossSum:
    """What an objective returns: the loop divides once, over the whole update."""

    total: torch.Tensor
    """What is minimised, summed over the targets; carries the gradient."""

    nats: torch.Tensor
    """Cross-entropy alone, summed over the targets, detached."""

    extras: dict[str, torch.Tensor] = field(default_factory=dict)
    """Further sums to report apart, such as ``z_loss``; detached."""


@dataclass(frozen=True)
class Tokens:
    """What an objective must know of the tokenizer."""

    size: int
    special_ids: frozenset[int]
    """Ids that stand for no text."""

    mask_id: int | None


@dataclass
class Row:
    """A window of a micro-batch, to be arranged. W tokens; T places, more where it is padded."""

    ids_T: npt.NDArray[np.int64]
    targets_T: npt.NDArray[np.int64]
    """Both to be changed in place; places beyond the window's tokens are padding."""

    tokens_W: npt.NDArray[np.int64]
    words_W: Callable[[], npt.NDArray[np.int64]]
    """Counts the words that begin in each token."""

    epoch: int
    position: int
    """Windows that the run was shown before it; masks depend on epoch and position, and on nothing else."""

    context: int
    """Places of a row: T, or a divisor of it where the window is shown as several rows."""


class Arrangement(Protocol):
    """What an objective does to rows where they are made: masks, above all."""

    def arrange(self, row: Row) -> bool:
        """Change a row in place; return whether its places see no token behind them."""

    @property
    def gives_direction(self) -> bool:
        """Whether rows carry their direction, for models that obey a mask."""


class Objective(Part):
    """Settings of one objective."""

    directions: ClassVar[frozenset[Direction]] = frozenset({"causal", "any"})
    """The architectures that it can train."""

    shared_tokens: ClassVar[int] = 1
    """Tokens that neighbouring windows share: 1 where a target is the token after its place, 0 where it
    is the token of its place."""

    held_out_losses: ClassVar[tuple[str, ...]] = ("perplexity",)
    """Evaluators of the held-out text that measure what it trains: ``perplexity``, ``masked_loss``."""

    needs_mask_token: ClassVar[bool] = False
    """Whether the tokenizer must have a mask token."""

    def arrangement(
        self, tokens: Tokens, direction: Direction, *, seed: int, positions: int
    ) -> Arrangement | None:
        """Return what is done to each row, or None where rows are trained on as the data give them.

        Args:
            tokens: Of the tokenizer.
            direction: Of the model.
            seed: The recipe's mask seed.
            positions: Windows that the whole run is shown, for what changes over it; 0 for held-out text,
                whose rows are all masked, and as at the run's end.

        Raises:
            RecipeError: When the tokenizer lacks what is needed.
        """
        return None

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return what the model is called with: ids, and positions where documents are isolated.

        No labels, since models would shift them; no mask of ones and no cache, since either switches off the
        detection of packed documents in transformers.
        """
        arguments: dict[str, Any] = {"input_ids": batch["ids_BT"], "use_cache": False}
        if "positions_BT" in batch:
            arguments["position_ids"] = batch["positions_BT"]
        if "state" in batch:
            arguments |= {"past_key_values": batch["state"], "use_cache": True}
        return arguments

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> LossSum:
        """Sum the loss over the counted targets of one micro-batch.

        Args:
            model: Maps ``ids_BT`` to an output with ``logits`` (BTV).
            batch: One micro-batch on the model's device.
        """
