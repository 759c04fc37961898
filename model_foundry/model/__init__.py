"""Contract for architectures: settings that become a ``PreTrainedModel``, offline.

``build`` may be called under ``torch.device("meta")`` for counting. The weights that it leaves mean nothing
(``gpt2`` and ``llama`` leave NaN): the recipe's initialisation (``initialization/``) overwrites all of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import model_validator

from model_foundry.model.presets import all_presets, filled
from model_foundry.parts import Part

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Direction = Literal["causal", "bidirectional", "any"]
"""Which tokens a logit depends on: those up to its own place; all; or as a mask of the caller's says.

``any`` takes ``attention_mask`` (B, 1, T, T), true where the row's place may look, and is causal without one.
"""


@dataclass(frozen=True)
class Vocabulary:
    """What a model must know of the tokenizer; written into its config so that the two can never disagree."""

    size: int
    bos_id: int | None = None
    eos_id: int | None = None
    pad_id: int | None = None


class Architecture(Part):
    """Settings of one architecture."""

    own_initialization: ClassVar[dict[str, Any]] = {"type": "gpt2"}
    """Section of a recipe for the initialisation that suits it, where neither preset nor recipe has one."""

    preset: str | None = None
    """A published model, such as gpt2-124m, whose values are taken for the fields that are not given."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, section: Any) -> Any:
        named = isinstance(section, dict) and section.get("preset") is not None
        return filled(cls.part_name(), section) if named else section

    def default_initialization(self) -> dict[str, Any]:
        """Return the section ``initialization`` of a recipe that has none: the preset's, else the own one."""
        published = all_presets()[self.preset].initialization if self.preset else self.own_initialization
        return dict(published)

    @property
    def direction(self) -> Direction:
        """What the model's logits depend on; objectives and evaluations go by it."""
        return "causal"

    @property
    def carried_shapes(self) -> list[tuple[int, int]]:
        """Layers and size of each part of the state that goes on from update to update; empty: none."""
        return []

    @abstractmethod
    def build(self, vocabulary: Vocabulary, context: int) -> PreTrainedModel:
        """Return the model in float32 and in training mode, with ``config.use_cache`` false.

        Args:
            vocabulary: Size and special ids of the tokenizer.
            context: Tokens a window; the model must have at least as many positions.

        Raises:
            RecipeError: When the context or the vocabulary does not fit, naming both numbers.
        """
