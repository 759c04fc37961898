"""Parts that a recipe has where it names none; some follow from other sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model_foundry.evaluation import Evaluator
from model_foundry.model import Architecture
from model_foundry.model.initialization import Initialization
from model_foundry.objective import Objective
from model_foundry.parts import Part, find_part


def default(contract: type[Part], name: str, **fields: Any) -> Callable[[], Any]:
    """Return what makes the part of that name."""
    return lambda: find_part(contract, name)(**fields)


def initialization_of_the_model(checked: dict[str, Any]) -> Initialization:
    """Return the weights of ``init_from``, else what the preset names, else what suits the architecture.

    Where the model itself is wrong, any will do.
    """
    if checked.get("init_from"):
        return default(Initialization, "pretrained", path=checked["init_from"])()  # type: ignore[no-any-return]
    model: Architecture | None = checked.get("model")
    section = model.default_initialization() if model else {"type": "gpt2"}
    initialization: Initialization = default(Initialization, section.pop("type"), **section)()
    return initialization


def evaluation_of_the_objective(checked: dict[str, Any]) -> list[Evaluator]:
    """Return the held-out losses that the objective has: of text, of masked tokens, or both."""
    objective: Objective | None = checked.get("objective")
    kinds = objective.held_out_losses if objective else ("perplexity",)
    return [default(Evaluator, kind)() for kind in kinds]
