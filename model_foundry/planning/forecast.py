"""All that is told of a run before it begins, as one value."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from model_foundry.config.plan import RunPlan, learning_rate_curve, plan_run
from model_foundry.model.counting import ParameterCount, count_parameters
from model_foundry.planning.base import base_bytes
from model_foundry.planning.cautions import cautions
from model_foundry.planning.corpus import Text
from model_foundry.planning.need import Memory, needed_memory
from model_foundry.planning.placement import Placement
from model_foundry.planning.states import checkpoint_sizes
from model_foundry.planning.timing import Price, Time
from model_foundry.running.building import model_facts
from model_foundry.running.courses import count_tokens
from model_foundry.running.saving import planned_saves
from model_foundry.training.disk import CheckpointSizes, DiskUse, PlannedSave, disk_use

if TYPE_CHECKING:
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.planning.devices import Device

_MOST_COUNTED = 2 * 10**9  # tokens; more would take minutes to read
_MOST_DOCUMENTS = 2**20


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    recipe: str
    run: str
    plan: RunPlan
    parameters: ParameterCount
    vocabulary: int
    unused_ids: int
    share_of_long_documents: float | None
    text_is_estimate: bool
    is_length_known: bool
    epochs_by_source: dict[str, float]
    learning_rates: list[tuple[int, float]]
    memory: Memory
    placement: Placement
    saves: list[PlannedSave]
    sizes: CheckpointSizes
    disk: DiskUse
    free_bytes: int
    disk_folder: str
    times: tuple[Time, ...] = ()
    price: Price | None = None
    cautions: tuple[str, ...] = ()

    def with_times(self, config: ExperimentConfig, times: list[Time], price: Price | None) -> Forecast:
        """Return it with what the run costs, and all cautions."""
        timed = replace(self, times=tuple(times), price=price)
        return replace(timed, cautions=tuple(cautions(config, timed)))

    def cost(self, time: Time) -> float | None:
        """Return the price of the run."""
        return None if self.price is None else self.price.amount * self.plan.processes * time.seconds / 3600

    @property
    def estimates(self) -> list[str]:
        """What is not counted but assumed."""
        found = list(self.plan.estimates)
        found += ["corpus", "epochs"] if self.text_is_estimate else []
        return found + [f"time ({time.where})" for time in self.times if time.source == "table"]

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        content = asdict(self)
        plan = content.pop("plan")
        content["run_name"] = content.pop("run")
        content["run"] = {
            key: value for key, value in plan.items() if key not in ("model", "flops", "estimates")
        }
        content["flops"] = {"per_token": plan["model"]["flops_per_token"], "total": plan["flops"]}
        content["checkpoints"] = {
            "saves": len(self.saves),
            "updates": [save.update for save in self.saves if save.is_milestone],
            "resumable_bytes": self.sizes.of(is_resumable=True),
            "weights_bytes": self.sizes.of(is_resumable=False),
            **content.pop("disk"),
            "free_bytes": content.pop("free_bytes"),
            "folder": content.pop("disk_folder"),
        }
        del content["saves"], content["sizes"]
        content["times"] = [
            {**asdict(time), "seconds": time.seconds, "cost": self.cost(time)} for time in self.times
        ]
        content["estimates"] = self.estimates
        return content


def forecast_run(
    config: ExperimentConfig,
    text: Text,
    folders: list[Path],
    *,
    recipe: str,
    run_folder: Path,
    devices: int = 1,
    placement: Placement = "ddp",
    device: Device | None = None,
    base: Callable[[], int] = base_bytes,
) -> Forecast:
    """Return what a run will take; nothing is trained and no run folder is touched.

    Args:
        config: The checked recipe.
        text: What is known of its corpus.
        folders: Where the recipe's relative paths begin.
        recipe: What the person called it.
        run_folder: Where the run would lie.
        devices: Processes, one a device.
        placement: How they share the state.
        device: One of the table; None for this machine's.
        base: Measures what a process takes beside its tensors, on a CPU.

    Raises:
        RecipeError: When the numbers contradict one another.
    """
    with torch.device("meta"):
        model = config.model.build(text.vocabulary, config.data.context)
    plan = plan_run(config, text.facts, model_facts(model, config), devices)
    sizes = checkpoint_sizes(config, model, text.tokenizer or Path("none"))
    saves = planned_saves(config, plan)
    folder = next(parent for parent in (run_folder, *run_folder.absolute().parents) if parent.is_dir())
    found = Forecast(
        recipe=recipe,
        run=config.run_name,
        plan=plan,
        parameters=count_parameters(model),
        vocabulary=text.vocabulary.size,
        unused_ids=_unused_ids(text),
        share_of_long_documents=_share_of_long_documents(text, config.data.context),
        text_is_estimate=text.is_estimate,
        is_length_known=text.is_length_known,
        epochs_by_source=text.epochs_by_source(config, plan, folders),
        learning_rates=_learning_rates(config, plan),
        memory=needed_memory(config, text, plan, model, placement=placement, device=device, base=base),
        placement=placement,
        saves=saves,
        sizes=sizes,
        disk=disk_use(saves, sizes, config.checkpoints.keep_resumable),
        free_bytes=shutil.disk_usage(folder).free,
        disk_folder=str(folder),
    )
    return found.with_times(config, [], None)


def _learning_rates(config: ExperimentConfig, plan: RunPlan, points: int = 61) -> list[tuple[int, float]]:
    curve = learning_rate_curve(config, plan)
    updates = sorted({round(place * (plan.updates - 1) / (points - 1)) for place in range(points)})
    return [(update, config.optimizer.learning_rate * curve(update)) for update in updates]


def _unused_ids(text: Text) -> int:
    if text.data is None or sum(len(source.stream) for source in text.data.windows) > _MOST_COUNTED:
        return 0
    counts = count_tokens(text.data.windows, text.data.encoder)
    return len(set(np.flatnonzero(counts == 0).tolist()) - text.data.encoder.special_ids)


def _share_of_long_documents(text: Text, context: int) -> float | None:
    """Return the share of documents (of the first of each source) that fill a window."""
    if text.data is None:
        return None
    lengths = [
        np.diff(np.asarray(source.stream.document_offsets[:_MOST_DOCUMENTS])) for source in text.data.windows
    ]
    whole = np.concatenate(lengths)
    return float((whole >= context).mean()) if len(whole) else None
