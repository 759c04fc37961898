"""Optimizer classes of torch and pytorch_optimizer, by their dotted names."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from model_foundry.errors import RecipeError
from model_foundry.optim import Optimizer, _library
from model_foundry.parts import PartOf

READER = TypeAdapter(PartOf[Optimizer])


def read(**section: Any) -> Optimizer:
    part: Optimizer = READER.validate_python({"learning_rate": 1e-3, **section})
    return part


def test_a_class_of_torch_takes_its_own_keywords() -> None:
    optimizer = read(type="torch.optim.RMSprop", alpha=0.9, weight_decay=0.2).build(nn.Linear(2, 2))

    assert isinstance(optimizer, torch.optim.RMSprop)
    assert [(group["alpha"], group["weight_decay"]) for group in optimizer.param_groups] == [
        (0.9, 0.2),
        (0.9, 0.0),
    ]
    assert optimizer.param_groups[0]["momentum"] == 0  # torch's default


def test_a_class_that_is_written_down_reads_back_as_the_same() -> None:
    part = read(type="torch.optim.NAdam", betas=[0.8, 0.9])

    written = part.model_dump(mode="json")

    assert written["type"] == "torch.optim.NAdam"
    assert READER.validate_python(written) == part
    assert part.build(nn.Linear(2, 2)).param_groups[0]["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"type": "torch.optim.RMSprop", "alfa": 0.9}, r"alfa\n.*Extra inputs are not permitted"),
        (
            {"type": "torch.optim.Adamm"},
            r"torch\.optim has no optimizer called 'Adamm'\. Did you mean 'Adam'\?",
        ),
        ({"type": "torch.optim.Optimizer"}, r"torch\.optim has no optimizer called 'Optimizer'"),
        (
            {"type": "torch.optim.LBFGS"},
            "evaluates the loss several times an update, and the loop does so once",
        ),
        ({"type": "torch.optim.SparseAdam"}, "takes sparse gradients alone"),
        ({"type": "torch.optim.Muon"}, "takes matrices alone. Use type: muon"),
        ({"type": "torch.optim.Rprop", "weight_decay": 0.1}, "has no weight decay: leave weight_decay out"),
        ({"type": "torch.optim.swa_utils.SWALR"}, "is a module of your own"),
    ],
)
def test_what_cannot_be_had_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        read(**section)


def test_a_value_that_the_class_refuses_is_a_problem_of_the_recipe() -> None:
    part = read(type="torch.optim.Adam", betas=[2.0, 0.9])

    with pytest.raises(
        RecipeError, match=r"optimizer: torch\.optim\.Adam cannot be made: Invalid beta parameter"
    ):
        part.build(nn.Linear(2, 2))


def test_a_library_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)

    with pytest.raises(
        ValidationError, match=r"needs the package pytorch_optimizer.*model-foundry\[optimizers\]"
    ):
        read(type="pytorch_optimizer.SOAP")


def test_a_class_of_another_library_without_a_rate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Rateless(torch.optim.Optimizer):
        def __init__(self, params: Any, size: float = 1.0) -> None:
            super().__init__(params, {"size": size})

        def step(self, closure: None = None) -> None:  # type: ignore[override]
            """Stay."""

    library = ModuleType("pytorch_optimizer")
    library.Rateless = Rateless  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", library)
    _library.part_for.cache_clear()

    with pytest.raises(ValidationError, match="takes no learning rate from outside"):
        read(type="pytorch_optimizer.Rateless")
