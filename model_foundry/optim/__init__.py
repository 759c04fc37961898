"""Contract for optimizers: a part that turns named parameters into a ``torch.optim.Optimizer``.

The learning rate that it is built with is the peak; the loop sets ``group["lr"]`` before each update to
``peak * schedule(update)``, times the group's own ``lr_scale`` where there is one. An optimizer whose weights
for use are not those that it trains has torch's own word for it: ``eval()`` and ``train()`` exchange them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from model_foundry.parts import Part, Settings

if TYPE_CHECKING:
    import torch

Beta = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]


class GroupRule(Settings):
    """What holds for the parameters whose names match; of several rules, the last that matches decides."""

    match: str = Field(min_length=1)
    """Pattern of parameter names, such as ``*.embed_tokens.*``; ``*`` stands for any letters."""

    learning_rate: NotNegative = 1.0
    """Factor of the learning rate; 0 keeps the parameters as they are."""

    weight_decay: NotNegative | None = None
    """Weight decay in place of the one that the parameters would have."""


class Optimizer(Part):
    """Settings of one optimizer, and which parameters it treats how."""

    libraries: ClassVar[tuple[str, ...]] = ("torch.optim", "pytorch_optimizer")

    shards: ClassVar[bool] = False
    """Whether its steps were seen to be the same on tensors that lie in parts on several processes."""

    learning_rate: float = Field(gt=0)
    """Peak learning rate."""

    weight_decay: NotNegative = 0.0
    """Pull towards zero, times the learning rate, on matrices; not on biases and norms."""

    decay_embeddings: bool = True
    """Whether embeddings decay too; OLMo 2 leaves them out."""

    decay_norm_and_bias: bool = False
    """Whether biases and norms decay too; OLMo 2 does so."""

    groups: list[GroupRule] = Field(default_factory=list)
    """Other learning rates and weight decay by parameter name."""

    @abstractmethod
    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return the optimizer over ``model``'s trainable parameters, grouped by the rules in ``_groups``.

        Args:
            model: Its parameters may still be on another device than the one they will be trained on.
            factors: Factors of the learning rate by parameter name, beside those of ``groups``: what a
                parametrization such as muP asks for. A parameter that is not named has 1.

        Raises:
            RecipeError: When a pattern of ``groups`` matches no trainable parameter.
        """
