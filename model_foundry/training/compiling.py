"""``training.compile``: which parts of a model are compiled, when that pays, and in which shapes it is fed.

Modules are compiled in place: their names, their weights and what is saved stay as they are. Each shape is
compiled by itself, never one for all sizes, so that the kernels of an update follow from its shape alone and
a resumed run computes the same bits. The loader pads micro-batches to few sizes, which bounds their number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from model_foundry.errors import RecipeError
from model_foundry.training.device_peaks import peak_flops

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.plan import RunPlan

Mode = Literal[False, "model", "regions"]
Setting = Literal[False, "auto", "model", "regions"]

BACKEND = "inductor"
"""Of ``torch.compile``; the tests take one that needs no compiler."""

SAVED_SHARE = 0.05
"""What compiling is assumed to save of a run's time: what was measured on a CPU (docs/performance.md)."""

SECONDS_A_SHAPE = 60.0
"""What compiling one shape is assumed to cost."""

_CPU_FLOPS = {"fp32": 1e11, "bf16": 2e11}
_SHARE_OF_PEAK, _UNKNOWN_DEVICE_FLOPS = 0.3, 1e13
_OTHERWISE = "Or set training.compile to false, or to auto."
_VARIANTS = 4
"""Versions that a shape may need: with a mask and without, recomputed in the backward pass or not."""


@dataclass(frozen=True)
class Compiling:
    """What was decided about a run."""

    mode: Mode
    because: str
    sizes: tuple[int, ...] = ()
    """Windows that a micro-batch may have, largest first: others are padded to the next; empty for any."""

    shapes: int = 0
    """Shapes that are compiled at most."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return asdict(self)

    def lines(self, setting: Setting) -> list[str]:
        """For people: what was decided, where the recipe asks for any."""
        return [f"  compile {self.mode or 'nothing'} ({self.because})"] if setting else []

    def apply(self, model: PreTrainedModel) -> None:
        """Compile in place; the work is done when a shape is first met."""
        if not self.mode:
            return
        warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor that is not a leaf")  # dynamo's
        torch.compiler.reset()  # what other models of this process compiled would count towards the limit
        torch._dynamo.config.recompile_limit = max(8, _VARIANTS * self.shapes)
        for module in [model.base_model] if self.mode == "model" else blocks(model):
            module.compile(backend=BACKEND, dynamic=False)


def decide(
    setting: Setting, model: PreTrainedModel, plan: RunPlan, precision: str, device: torch.device
) -> Compiling:
    """Return what is compiled, by the recipe's ``training.compile``.

    ``auto`` compiles the blocks where the whole run's assumed time without compiling, times ``SAVED_SHARE``,
    is more than ``SECONDS_A_SHAPE`` a shape. It reads the plan and nothing that a resume could change.

    Raises:
        RecipeError: When the recipe asks for what cannot be compiled here.
    """
    if setting is False:
        return Compiling(False, "the recipe says so")
    hindrance = _hindrance(setting, model, device)
    if setting != "auto":
        if hindrance is not None:
            raise RecipeError(f"training.compile: {setting}: {hindrance} {_OTHERWISE}")
        return Compiling(setting, "the recipe says so", _sizes(plan), _shapes(plan))
    if hindrance is not None:
        return Compiling(False, hindrance)
    shapes = _shapes(plan)
    saved = SAVED_SHARE * plan.flops / plan.processes / _flops_a_second(precision, device)
    cost = SECONDS_A_SHAPE * shapes
    because = f"about {saved:,.0f} s saved, and {cost:,.0f} s for {shapes} shape{'s' if shapes > 1 else ''}"
    if saved <= cost:
        return Compiling(False, because)
    return Compiling("regions", because, _sizes(plan), shapes)


def blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules with attention that a model has one after the other, in order: its layers."""
    found: list[nn.Module] = []
    for child in model.children():
        if isinstance(child, nn.ModuleList) and len(child) and all(map(_has_attention, child)):
            found += child
        else:
            found += blocks(child)
    return found


@contextmanager
def as_written(model: nn.Module) -> Iterator[None]:
    """Run the modules of ``model`` without what they were compiled to, for a while."""
    compiled = [(module, module._compiled_call_impl) for module in model.modules()]
    for module, _ in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call


def _hindrance(setting: Setting, model: PreTrainedModel, device: torch.device) -> str | None:
    kind = type(model).__name__
    if not blocks(model):
        return (
            f"{kind} has no blocks with attention, and a recurrence would be compiled token by token, for "
            "a very long time."
        )
    if hasattr(model.config, "output_router_logits"):
        return f"the experts of {kind} get another number of tokens each time, and each would be compiled."
    if setting == "model" and model.base_model is model:
        return f"{kind} has no part without its output layer, which is computed with the loss."
    return _missing_compiler(device)


def _missing_compiler(device: torch.device) -> str | None:
    if device.type != "cpu" or BACKEND != "inductor":
        return None
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return (
            "compiling for a CPU needs a C++ compiler, and none was found (g++, or what the variable CXX "
            "names). Install g++ (the package build-essential on Debian and Ubuntu), or name one in CXX."
        )
    return None


def _sizes(plan: RunPlan) -> tuple[int, ...]:
    """The full micro-batch; where the batch grows, also its halves, so that small batches stay cheap."""
    sizes = [plan.micro_batch_size]
    while plan.batch_warmup is not None and sizes[-1] > 1:
        sizes.append(-(-sizes[-1] // 2))
    return tuple(sizes)


def _shapes(plan: RunPlan) -> int:
    return len(_sizes(plan)) * (len(plan.context_warmup) + 1)


def _flops_a_second(precision: str, device: torch.device) -> float:
    if device.type == "cpu":
        return _CPU_FLOPS[precision]
    peak = peak_flops(device, precision)
    return _UNKNOWN_DEVICE_FLOPS if peak is None else _SHARE_OF_PEAK * peak


def _has_attention(block: nn.Module) -> bool:
    return any("attention" in type(module).__name__.lower() for module in block.modules())
