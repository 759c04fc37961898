"""Contract for parametrizations: how the initialisation and the learning rates follow a model's width.

Everything is folded into the initial values and the learning rate of each parameter, and nothing into the
forward pass: the model stays an ordinary one, which its saved files describe completely.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_foundry.parts import Part

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Factors:
    """Of one parameter, beside what the recipe says of it."""

    initial: float = 1.0
    """Of the initial values."""

    learning_rate: float = 1.0
    """Of the learning rate."""


class Scaling(Part):
    """Settings of one parametrization."""

    @abstractmethod
    def factors(self, model: PreTrainedModel) -> dict[str, Factors]:
        """Return the factors of every parameter by name; its values do not matter and may be unset.

        Raises:
            RecipeError: When there are no rules for such a model.
        """

    @abstractmethod
    def require_effect(self, model: PreTrainedModel) -> None:
        """Hold an initialised model to what the factors take for granted.

        Raises:
            RecipeError: When the model is not built as they assume.
        """
