"""Contract for initialisations: ours, not the library's default, drawn with the recipe's weights seed.

transformers' ``from_config`` does not give published initialisations for Llama-like and NeoX models, so every
fresh model is initialised anew by one of these, and what came out is measured against what was meant.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from model_foundry.errors import RecipeError
from model_foundry.parts import Part

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from model_foundry.model.initialization._distributions import Distribution

STANDARD_ERRORS = 6.0
"""How far a standard deviation may be off: by chance once in 5e8 tensor classes, and a model has some ten."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """A parameter and what it is drawn from."""

    name: str
    kind: str
    parameter: torch.Tensor
    distribution: Distribution
    zero_row: int | None = None
    """Row of the padding token: zero, and left out of what is measured."""

    scale: float = 1.0
    """What the drawn values are multiplied by."""

    def draw(self, generator: torch.Generator) -> None:
        """Overwrite the parameter, drawing where the generator is, so that placement changes nothing."""
        import torch

        parameter = self.parameter
        is_here = parameter.device == generator.device and parameter.is_contiguous()
        target = parameter if is_here else torch.empty(parameter.shape, device=generator.device)
        self.distribution.draw(target, generator)
        if self.scale != 1:
            target.mul_(self.scale)
        if self.zero_row is not None:
            target[self.zero_row].zero_()
        if not is_here:
            parameter.copy_(target)

    def measured(self) -> torch.Tensor:
        """Return the values that were drawn, without the padding token's."""
        import torch

        values = self.parameter
        if self.zero_row is not None:
            rows = torch.arange(len(values), device=values.device)
            values = values[rows != self.zero_row]
        return self.distribution.measured(values / self.scale if self.scale != 1 else values)


class Initialization(Part):
    """Settings of one initialisation."""

    depends_on_width: ClassVar[bool] = False
    """Whether hidden matrices get smaller with the width by themselves."""

    def weights_from(self, folders: list[Path]) -> tuple[Path, str] | None:
        """Return where the weights lie that are taken instead, and which of a run's; None: they are drawn."""
        return None

    @abstractmethod
    def drawings(self, model: PreTrainedModel) -> list[Drawing]:
        """Return what every parameter of ``model`` is drawn from, in the order of ``named_parameters``.

        Raises:
            RecipeError: When the model holds a parameter that no rule knows.
        """

    def initialize(
        self,
        model: PreTrainedModel,
        generator: torch.Generator,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        """Overwrite every parameter of ``model`` in place, drawing from ``generator`` alone, and measure it.

        Parameters are drawn in the order of ``named_parameters``, in which a tied weight stands once.

        Args:
            model: Whose parameters are overwritten; what they were does not matter.
            generator: The only source of randomness.
            scales: Factors of parameters by name, where a width is scaled (``scaling``).

        Raises:
            RecipeError: When the model holds a parameter that no rule knows, or when what is in the model
                afterwards is not what was drawn.
        """
        import torch

        drawings = self.drawings(model)
        missing = {name for name, _ in model.named_parameters()} - {drawing.name for drawing in drawings}
        assert not missing, f"{type(self).__name__} says nothing of {sorted(missing)}"
        drawings = [replace(drawing, scale=(scales or {}).get(drawing.name, 1.0)) for drawing in drawings]
        with torch.no_grad():
            for drawing in drawings:
                drawing.draw(generator)
        verify([drawing for drawing in drawings if drawing.parameter.device.type != "meta"])


def verify(
    drawings: list[Drawing],
    standard_errors: float = STANDARD_ERRORS,
    *,
    read: Callable[[Drawing], torch.Tensor] = lambda drawing: drawing.parameter,
) -> None:
    """Measure each class of tensors: the deviation from the mean, against the formula's.

    A class is what is of one kind, distribution and scale. The standard error of a standard deviation s over
    n values is s sqrt((kurtosis - 1) / 4n). What is not drawn must be exact.

    Args:
        drawings: What was drawn, by whoever.
        standard_errors: How many of them may lie between.
        read: Gives the values that the model holds, one tensor at a time.

    Raises:
        RecipeError: Naming the class, what was found and what was expected. NaN is never within.
    """
    classes: dict[tuple[str, Distribution, float], list[Drawing]] = {}
    for drawing in drawings:
        if drawing.parameter.numel():
            classes.setdefault((drawing.kind, drawing.distribution, drawing.scale), []).append(drawing)
    for (kind, distribution, scale), members in classes.items():
        mean, std, kurtosis = distribution.moments
        found, count = _deviation(members, mean, read)
        tolerance = standard_errors * std * math.sqrt((kurtosis - 1) / (4 * count))
        if not abs(found - std) <= tolerance:
            raise RecipeError(
                f"initialization: {count:,} values of kind {kind} ({members[0].name} and {len(members) - 1} "
                f"more) deviate from their mean by {found * scale:.7g}, expected {std * scale:.7g} +- "
                f"{tolerance * scale:.2g} ({distribution}). Either the model changes its weights, or there "
                "is a bug in the initialisation: choose another of either, and report this."
            )


def _deviation(
    members: list[Drawing], mean: float, read: Callable[[Drawing], torch.Tensor]
) -> tuple[float, int]:
    import torch

    squares, count = 0.0, 0
    with torch.no_grad():
        for member in members:
            values = replace(member, parameter=read(member)).measured()
            away = values - mean if mean else values
            squares += torch.linalg.vector_norm(away, dtype=torch.float64).item() ** 2
            count += values.numel()
    return math.sqrt(squares / count) if count else 0.0, max(1, count)
