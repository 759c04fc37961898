"""Optimizer classes of torch and pytorch_optimizer as parts: their keyword arguments are the fields."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, create_model, model_validator
from pydantic_core import PydanticCustomError

from model_foundry.errors import RecipeError
from model_foundry.optim import Optimizer
from model_foundry.parts import did_you_mean

if TYPE_CHECKING:
    import torch

_INSTALL = {"pytorch_optimizer": "pip install 'model-foundry[optimizers]'", "torch": "pip install torch"}
_UNSUITED = {
    "SparseAdam": "takes sparse gradients alone, which no model here has. Choose another optimizer",
    "Muon": "takes matrices alone. Use type: muon, which gives all else to AdamW",
}
_GIVEN = {"self", "params", "lr", "weight_decay"}  # by the groups and the loop


def _as_tuples(value: Any) -> Any:
    """Recipes have lists where torch has tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list | tuple) else value


class LibraryOptimizer(Optimizer):
    """Any optimizer class of a library; its fields are the class's keyword arguments."""

    name: ClassVar[str]
    optimizer: ClassVar[type[torch.optim.Optimizer]]
    decays: ClassVar[bool]

    @classmethod
    def part_name(cls) -> str:
        """The class's dotted name."""
        return cls.name

    @model_validator(mode="after")
    def _decay_is_possible(self) -> Self:
        if not self.decays and (self.weight_decay or any(rule.weight_decay for rule in self.groups)):
            raise ValueError(f"{self.name} has no weight decay: leave weight_decay out")
        return self

    def build(
        self, model: torch.nn.Module, factors: Mapping[str, float] | None = None
    ) -> torch.optim.Optimizer:
        """Return an object of the class; see ``Optimizer.build``.

        Raises:
            RecipeError: When the class refuses its fields, too.
        """
        from model_foundry.optim._groups import parameter_groups

        groups = parameter_groups(model, self, factors)
        given = {name: getattr(self, name) for name in type(self).model_fields if name not in _OURS}
        try:
            return self.optimizer(groups, lr=self.learning_rate, **given)  # type: ignore[call-arg]
        except (TypeError, ValueError) as error:  # its own checks
            raise RecipeError(
                f"optimizer: {self.name} cannot be made: {error}. Change its fields in the recipe."
            ) from error


_OURS = set(Optimizer.model_fields)


@cache
def part_for(name: str) -> type[LibraryOptimizer]:
    """Return the part that stands for an optimizer class.

    Raises:
        PydanticCustomError: When its library is not installed or holds no such optimizer, or the optimizer
            needs more than gradients.
    """
    module_name, _, class_name = name.rpartition(".")
    package = module_name.partition(".")[0]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PydanticCustomError(
            "missing_package",
            "{name} needs the package {package}, which cannot be imported ({error}). Install it: {command}",
            {"name": repr(name), "package": package, "error": str(error), "command": _INSTALL[package]},
        ) from error
    import torch

    known = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
        if value is not torch.optim.Optimizer
    ]
    if class_name not in known:
        raise PydanticCustomError(
            "unknown_part",
            "{module} has no optimizer called {name}.{hint} Known: {known}",
            {
                "module": module_name,
                "name": repr(class_name),
                "hint": did_you_mean(class_name, known),
                "known": ", ".join(sorted(known)),
            },
        )
    optimizer = getattr(module, class_name)
    _require_plain(name, optimizer)
    keywords = inspect.signature(optimizer).parameters
    fields: dict[str, Any] = {
        key: (Annotated[Any, AfterValidator(_as_tuples)], Field(_default(keyword)))
        for key, keyword in keywords.items()
        if key not in _GIVEN and keyword.kind not in (keyword.VAR_POSITIONAL, keyword.VAR_KEYWORD)
    }
    if "weight_decay" in keywords:
        fields["weight_decay"] = (Annotated[float, Field(ge=0)], keywords["weight_decay"].default)
    part = create_model(class_name, __base__=LibraryOptimizer, __module__=__name__, **fields)
    part.name, part.optimizer, part.decays = name, optimizer, "weight_decay" in keywords
    return part


def _default(keyword: inspect.Parameter) -> Any:
    return ... if keyword.default is inspect.Parameter.empty else keyword.default


def _require_plain(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    why = _UNSUITED.get(optimizer.__name__)
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        why = (
            "evaluates the loss several times an update, and the loop does so once. Choose another optimizer"
        )
    elif "lr" not in inspect.signature(optimizer).parameters:
        why = "takes no learning rate from outside, and the schedule sets one. Choose another optimizer"
    if why is not None:
        raise PydanticCustomError("unsuited_optimizer", "{name} {why}", {"name": repr(name), "why": why})
