"""Which tokens of a row are masked, and what stands in their place: a pure function of settings and position.

Shape letters: W tokens of a window, U units.

Every unit (a token, a whole word or a span) is chosen with the mask ratio as its probability, independently
of all others, so that each token is masked with exactly that probability, whatever the unit. Devlin et al.
2018 (arXiv 1810.04805, section 3.1) choose a fixed number a row instead: the mean is the same, the number
here is binomial. Spans lie one after the other, as in GPT-BERT (Charpentier, Samuel 2024, arXiv 2410.24159).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, PositiveInt, TypeAdapter, model_validator
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from model_foundry.errors import RecipeError
from model_foundry.objective import Row, Tokens
from model_foundry.objective._token_loss import TokenLoss
from model_foundry.parts import Settings
from model_foundry.seeds import derive_seed
from model_foundry.units import Share, read_fraction

_Ints = npt.NDArray[np.int64]
_Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class MaskRatio:
    """The share of tokens that are masked: constant, or on a line over the windows of the run."""

    start: float
    end: float

    @classmethod
    def parse(cls, value: Any) -> MaskRatio:
        """Read ``15%``, ``0.15`` or ``{start: 30%, end: 15%}``.

        Raises:
            PydanticCustomError: When it is none of these, or not above 0.
        """
        if isinstance(value, MaskRatio):
            return value
        if isinstance(value, dict) and set(value) != {"start", "end"}:
            raise PydanticCustomError("mask_ratio", "expected a share such as 15%, or {start: 30%, end: 15%}")
        start, end = (value["start"], value["end"]) if isinstance(value, dict) else (value, value)
        found = cls(read_fraction(start), read_fraction(end))
        if not (found.start and found.end):
            raise PydanticCustomError("mask_ratio", "expected a share above 0, such as 15%")
        return found

    def at(self, progress: float) -> float:
        """Return the ratio when this share of the run's windows was shown."""
        return self.start + (self.end - self.start) * min(1.0, progress)

    def __str__(self) -> str:
        return str(self.as_plain())

    def as_plain(self) -> float | dict[str, float]:
        """Return what a recipe says."""
        return self.start if self.start == self.end else {"start": self.start, "end": self.end}

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(cls.as_plain)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        share = TypeAdapter(Share).json_schema()
        ends = {"type": "object", "properties": dict.fromkeys(("start", "end"), share)}
        return {"anyOf": [share, {**ends, "required": ["start", "end"], "additionalProperties": False}]}


class Replacement(Settings):
    """What stands in place of the chosen tokens, in shares that add up to 1."""

    mask: Share = 0.8
    """The mask token."""

    random: Share = 0.1
    """A token drawn evenly from all that stand for text."""

    unchanged: Share = 0.1
    """The token itself, to be predicted all the same."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        total = self.mask + self.random + self.unchanged
        if abs(total - 1) > 1e-9:
            raise ValueError(
                f"mask {self.mask:g}, random {self.random:g} and unchanged {self.unchanged:g} add up to "
                f"{total:g}, expected 1: say all three"
            )
        return self


class MaskedLoss(TokenLoss):
    """What objectives that mask tokens have in common."""

    needs_mask_token: ClassVar[bool] = True

    mask_ratio: MaskRatio = MaskRatio(0.15, 0.15)
    """Share of the tokens that are masked and predicted: 15%, or {start: 30%, end: 15%} over the run."""

    replacement: Replacement = Replacement()
    """What stands in their place: BERT has 80%, 10%, 10%; BabyBERTa leaves none unchanged: 90%, 10%, 0%."""

    unit: Literal["token", "whole_word", "span"] = "token"
    """What is masked as a whole: token, whole_word (of str.split), or span (1 to longest_span tokens)."""

    longest_span: PositiveInt = 3
    """For unit span: lengths are drawn evenly from 1 to this (arXiv 2410.24159 has 3)."""

    def masks(self, tokens: Tokens, *, seed: int, positions: int) -> Masks:
        """Return how the rows of a run are masked.

        Raises:
            RecipeError: When the tokenizer has no mask token.
        """
        if tokens.mask_id is None:
            raise RecipeError(
                f"objective: {self.part_name()} needs a mask token, and the tokenizer names none. Name one "
                "of its vocabulary as tokenizer.mask_token."
            )
        choices = np.setdiff1d(np.arange(tokens.size), sorted(tokens.special_ids))
        return Masks(self, tokens.mask_id, np.array(sorted(tokens.special_ids)), choices, seed, positions)


@dataclass(frozen=True)
class Masks:
    """The masks of a run; see ``MaskedLoss``."""

    settings: MaskedLoss
    mask_id: int
    special_ids: _Ints
    choices: _Ints
    seed: int
    positions: int

    def draw(
        self, row: Row, may_be: Callable[[_Truths], None] = lambda chosen: None
    ) -> tuple[_Truths, _Ints]:
        """Return which tokens of a row's window are masked, and the window with what stands in their place.

        Args:
            row: Tokens that stand for no text, such as ends of documents, are never chosen.
            may_be: Takes further tokens out of the choice, in place.
        """
        settings, tokens_W = self.settings, row.tokens_W
        generator = np.random.default_rng(derive_seed(self.seed, "mask", row.epoch, row.position))
        is_special_W = np.isin(tokens_W, self.special_ids)
        units_W = self._units(row, is_special_W, generator)
        num_units = int(units_W[-1]) + 1
        ratio = settings.mask_ratio.at(row.position / self.positions if self.positions else 1.0)
        chosen_W = (generator.random(num_units) < ratio)[units_W] & ~is_special_W
        may_be(chosen_W)
        # Spans get one kind of replacement, as in GPT-BERT; tokens and the tokens of a word each their own.
        kinds_W = (
            generator.random(num_units)[units_W]
            if settings.unit == "span"
            else generator.random(len(tokens_W))
        )
        random_W = self.choices[generator.integers(len(self.choices), size=len(tokens_W))]
        mask_share = settings.replacement.mask
        by_kind_W = np.where(kinds_W < mask_share + settings.replacement.random, random_W, tokens_W)
        by_kind_W = np.where(kinds_W < mask_share, self.mask_id, by_kind_W)
        return chosen_W, np.where(chosen_W, by_kind_W, tokens_W)

    def _units(self, row: Row, is_special_W: _Truths, generator: np.random.Generator) -> _Ints:
        """Number the units of a row from 0 on."""
        length = len(row.tokens_W)
        if self.settings.unit == "token":
            return np.arange(length)
        if self.settings.unit == "span":
            lengths = generator.integers(1, self.settings.longest_span + 1, size=length)
            return np.repeat(np.arange(length), lengths)[:length]
        starts_W = (row.words_W() > 0) | is_special_W
        starts_W[0] = True
        return np.cumsum(starts_W) - 1
