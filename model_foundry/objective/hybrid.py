"""Causal and masked rows in one model: masked next-token prediction.

Charpentier and Samuel 2024 (GPT-BERT, arXiv 2410.24159, section 2): the model predicts each token at the
place to its left in both kinds of rows; causal rows see what stands before and predict every token, masked
rows see both sides and predict the masked ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from model_foundry.model import Direction
from model_foundry.objective import IGNORED, Arrangement, Batch, Row, Tokens
from model_foundry.objective._masking import MaskedLoss, Masks


class RowShare(Fraction):
    """A share of rows, exact: ``15/16``, ``0.5`` or ``94%``."""

    @classmethod
    def parse(cls, value: Any) -> RowShare:
        """Read a share from 0 to 1.

        Raises:
            PydanticCustomError: When it is none.
        """
        try:
            text = str(value).strip()
            share = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except (ValueError, ZeroDivisionError):
            share = Fraction(-1)
        if isinstance(value, bool) or not 0 <= share <= 1 or share.denominator > 10**6:
            raise PydanticCustomError("row_share", "expected a share from 0 to 1 such as 15/16, 0.5 or 50%")
        return cls(share)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        text = {
            "type": "string",
            "pattern": r"^\s*[0-9_]*(\.[0-9]*)?([eE][+-]?[0-9]+)?(/[0-9]+)?\s*%?\s*$",
        }
        return {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, text]}


class Hybrid(MaskedLoss):
    """Needs an architecture that obeys a mask, such as gpt_bert."""

    directions: ClassVar[frozenset[Direction]] = frozenset({"any"})
    held_out_losses: ClassVar[tuple[str, ...]] = ("perplexity", "masked_loss")

    masked: RowShare = RowShare(15, 16)
    """Share of rows that are masked, spread evenly: with 15/16, as published, 15 of any 16 that follow."""

    def arrangement(
        self, tokens: Tokens, direction: Direction, *, seed: int, positions: int
    ) -> Arrangement | None:
        """Return masks and kinds of the rows of a run; see ``Objective.arrangement``."""
        masked = self.masked if positions else Fraction(1)
        return _HybridRows(self.masks(tokens, seed=seed, positions=positions), masked)

    def arguments(self, batch: Batch) -> dict[str, Any]:
        """Return ids and what each place may see."""
        from model_foundry.objective._attention import with_mask

        return with_mask({"input_ids": batch["ids_BT"], "use_cache": False}, batch)


@dataclass(frozen=True)
class _HybridRows:
    masks: Masks
    masked: Fraction
    gives_direction: bool = True

    def arrange(self, row: Row) -> bool:
        before, after = (int(position * self.masked) for position in (row.position, row.position + 1))
        if before == after:
            return True
        length = len(row.tokens_W) - 1
        targets_T = row.targets_T[:length]

        def take_out(chosen_W: Any) -> None:
            # The first token has no place to its left, nor has that of an isolated document.
            chosen_W[0] = False
            chosen_W[1:] &= targets_T != IGNORED

        chosen_W, shown_W = self.masks.draw(row, take_out)
        row.ids_T[:length] = shown_W[:-1]
        # Predicted, if at all, at the last place of the row before, where it is not seen anyway.
        row.ids_T[: length : row.context] = row.tokens_W[: length : row.context]
        targets_T[~chosen_W[1:]] = IGNORED
        return False
