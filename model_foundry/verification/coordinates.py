"""The coordinate check: how large activations are after a few updates, at several widths.

Yang et al. 2022 (arXiv 2203.03466, appendix D.1). Under a parametrization that keeps its promise they do not
grow with the width at any update; under the plain one, at one learning rate, they do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from model_foundry.config.check import check_config
from model_foundry.data.loader import UpdateSampler, build_loader, rounds
from model_foundry.errors import RecipeError
from model_foundry.model._kinds import tensors_of
from model_foundry.model.scaling import Scaling
from model_foundry.model.scaling._widths import at_width
from model_foundry.objective import IGNORED
from model_foundry.parts import find_part
from model_foundry.running.building import Built, Data, build_model_and_plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.objective import Batch

PLACES = ("embedding", "attention", "feed_forward", "logits")
STEEPEST = 0.3
"""Slope of log RMS over log width, up or down, up to which an activation is called flat in the width."""
LOGITS_BEGIN_AT = -0.5
"""Slope of muP's logits before the first update; they become flat as the model learns."""


@dataclass(frozen=True)
class Trial:
    """Root mean square of the activations of one model, before the first update and after each."""

    parametrization: str
    width: int
    rms: Mapping[str, list[float]]
    """By place; those of attention and feed-forward over all layers."""


@dataclass(frozen=True)
class CoordinateCheck:
    """All trials of a recipe."""

    trials: list[Trial]

    @property
    def parametrizations(self) -> list[str]:
        """Their names: the plain one, then the recipe's."""
        return list(dict.fromkeys(trial.parametrization for trial in self.trials))

    def slopes(self, parametrization: str) -> dict[str, float]:
        """Return, for each place, the slope of log RMS over log width, in the mean over all updates."""
        trials = [trial for trial in self.trials if trial.parametrization == parametrization]
        widths = np.log([trial.width for trial in trials])
        logs = {place: [np.log(trial.rms[place][1:]).mean() for trial in trials] for place in PLACES}
        return {place: float(np.polyfit(widths, logs[place], 1)[0]) for place in PLACES}

    def is_flat(self, parametrization: str) -> bool:
        """Whether nothing grows or vanishes with the width; logits may be on the way from their start."""
        slopes = self.slopes(parametrization)
        least = {place: -STEEPEST for place in PLACES} | {"logits": LOGITS_BEGIN_AT - STEEPEST}
        return all(least[place] <= slopes[place] <= STEEPEST for place in PLACES)


def check_coordinates(
    config: ExperimentConfig,
    data: Data,
    folders: list[Path],
    *,
    widths: list[int],
    updates: int,
    say: Callable[[str], None] = lambda text: None,
) -> CoordinateCheck:
    """Train copies of the recipe's model of several widths, with and without muP, on the same windows.

    The learning rate is the recipe's peak from the first update on, and gradients are not clipped.

    Args:
        config: Its ``scaling``, or muP with the first of the widths as its base.
        data: The recipe's corpus, prepared.
        folders: Where the recipe's relative paths begin.
        widths: At least two, in rising order.
        updates: How many each copy is trained.
        say: Is told what is going on.

    Raises:
        RecipeError: When the model cannot be had at a width, or has no muP.
    """
    mup = find_part(Scaling, "mup")  # type: ignore[type-abstract]
    scaling = config.scaling or mup.model_validate({"base_width": widths[0]})
    trials = []
    for name, chosen in (("standard", None), (scaling.part_name(), scaling)):
        for width in widths:
            say(f"{name}, width {width}: {updates} updates ...")
            model = at_width(config.model, width)
            copy = config.model_copy(update={"model": model, "scaling": chosen, "averaging": None})
            check_config(copy)
            trials.append(_trial(copy, data, folders, name, width, updates))
    return CoordinateCheck(trials)


def _trial(
    config: ExperimentConfig, data: Data, folders: list[Path], name: str, width: int, updates: int
) -> Trial:
    built = build_model_and_plan(config, data, 1, folders)
    plan, model, optimizer = built.plan, built.model, built.optimizer
    if plan.updates < updates:
        raise RecipeError(f"--updates: {updates}, and the recipe trains only {plan.updates}. Give fewer.")
    updates_to_come = _batches(config, built, updates)
    torch.manual_seed(config.seed_of("dropout"))
    for group in optimizer.param_groups:
        group["lr"] = config.optimizer.learning_rate * group.get("lr_scale", 1.0)
    probe = updates_to_come[0][0]
    found = [_activations(model, probe)]
    for batches in updates_to_come:
        _train(config, model, optimizer, batches)
        found.append(_activations(model, probe))
    return Trial(name, width, {place: [rms[place] for rms in found] for place in PLACES})


def _batches(config: ExperimentConfig, built: Built, updates: int) -> list[list[Batch]]:
    """Return the micro-batches of the first updates."""
    size = built.plan.micro_batch_size
    sampler = UpdateSampler(built.course, start=0, stop=updates, micro_batch_size=size, processes=1)
    seed, arrangement, lengths = config.seed_of("data"), built.arrangement, built.rows
    loader = iter(
        build_loader(built.course, sampler, workers=0, seed=seed, arrangement=arrangement, rows=lengths)
    )
    spans = [len(built.course.span(update)) for update in range(updates)]
    return [[next(loader) for _ in range(rounds(span, size, 1))] for span in spans]


def _train(
    config: ExperimentConfig, model: PreTrainedModel, optimizer: torch.optim.Optimizer, batches: list[Batch]
) -> None:
    targets = sum(int((batch["targets_BT"] != IGNORED).sum()) for batch in batches)
    for batch in batches:
        loss = config.objective.loss(model, batch).total / targets
        loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


def _activations(model: PreTrainedModel, batch: Batch) -> dict[str, float]:
    """Return the root mean square at each place, dropout switched off."""
    found: dict[str, list[torch.Tensor]] = {place: [] for place in PLACES}
    model.train(False)
    with torch.no_grad(), _watching(model, found):
        found["logits"].append(model(input_ids=batch["ids_BT"]).logits)
    model.train(True)
    return {place: _rms(values) for place, values in found.items()}


def _rms(values: list[torch.Tensor]) -> float:
    squares = sum(torch.linalg.vector_norm(value, dtype=torch.float64).item() ** 2 for value in values)
    return math.sqrt(squares / sum(value.numel() for value in values))


@contextmanager
def _watching(model: PreTrainedModel, found: dict[str, list[torch.Tensor]]) -> Iterator[None]:
    """Collect what the embedding and the last layer of each branch put out."""
    places = {model.get_input_embeddings(): "embedding"}
    for tensor in tensors_of(model):
        if tensor.kind == "residual":
            places[tensor.owner] = "feed_forward" if tensor.in_feed_forward else "attention"

    def note(place: str) -> Callable[[object, object, torch.Tensor], None]:
        return lambda _module, _inputs, output: found[place].append(output.detach())

    handles = [module.register_forward_hook(note(place)) for module, place in places.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
