"""Masked language modelling (Devlin et al. 2018, arXiv 1810.04805, section 3.1).

Rows are plain windows of the text, without classification or separator tokens around them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from model_foundry.model import Direction
from model_foundry.objective import Arrangement, Batch, Row, Tokens
from model_foundry.objective._masking import MaskedLoss, Masks


class MaskedLM(MaskedLoss):
    """Each target stands at its own place; windows share no token, so that each is shown once an epoch."""

    directions: ClassVar[frozenset[Direction]] = frozenset({"bidirectional", "any"})
    shared_tokens: ClassVar[int] = 0
    held_out_losses: ClassVar[tuple[str, ...]] = ("masked_loss",)

    def arrangement(
        self, tokens: Tokens, direction: Direction, *, seed: int, positions: int
    ) -> Arrangement | None:
        """Return the masks of a run; see ``Objective.arrangement``."""
        return _MaskedRows(self.masks(tokens, seed=seed, positions=positions), direction == "any")

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return ids, and a mask where rows are padded, documents are isolated, or the model obeys one."""
        from model_foundry.objective._attention import with_mask

        return with_mask({"input_ids": batch["ids_BT"]}, batch)


@dataclass(frozen=True)
class _MaskedRows:
    masks: Masks
    gives_direction: bool

    def arrange(self, row: Row) -> bool:
        chosen_W, shown_W = self.masks.draw(row)
        length = len(shown_W)
        row.ids_T[:length] = shown_W
        row.targets_T[:length][chosen_W] = row.tokens_W[chosen_W]
        return False
