"""How long a run takes and what it costs: from what a probe measured, or from a table of devices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_foundry.errors import RecipeError
from model_foundry.running.saving import interval_ends

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_foundry.config.plan import RunPlan
    from model_foundry.config.schema import ExperimentConfig
    from model_foundry.planning.devices import Device
    from model_foundry.training.disk import PlannedSave
    from model_foundry.units import Duration

_RECOMPUTED = 4 / 3  # gradient checkpointing: one more forward pass beside one forward and two backward

_PRICE = re.compile(r"\s*([^\d\s.,/]{0,4})\s*(\d+(?:\.\d+)?)\s*([^\d\s./]{0,4})\s*(?:/\s*(?:h|hour)\s*)?")


@dataclass(frozen=True)
class Price:
    """Money for an hour of one device."""

    amount: float
    currency: str

    @classmethod
    def parse(cls, text: str) -> Price:
        """Read ``2.5``, ``2.5/h``, ``$2.50/h`` or ``2.5 EUR/h``.

        Raises:
            RecipeError: When it is none of these.
        """
        match = _PRICE.fullmatch(text)
        if match is None or (match[1] and match[3]):
            raise RecipeError(f"--price {text}: expected the price of a device for an hour, such as 2.5/h.")
        return cls(float(match[2]), match[1] or match[3])


@dataclass(frozen=True)
class Time:
    """Seconds of a run, part by part."""

    source: str
    """``probe`` or ``table``."""

    where: str
    seconds_by_phase: dict[str, float]
    """Of the whole run: start_up, updates, evaluations, samples, checkpoints."""

    facts: dict[str, Any]
    """What the seconds follow from."""

    @property
    def seconds(self) -> float:
        """The whole run."""
        return sum(self.seconds_by_phase.values())


@dataclass(frozen=True)
class Probe:
    """What was measured on updates that were thrown away."""

    start_up: float
    """Seconds from the start of the process to the first update, without what is counted below."""

    updates: list[float]
    """Seconds of each update but the first, which warms up."""

    phases: dict[str, float]
    """Seconds an update in the mean, by the phases of ``metrics.jsonl``: data, forward, backward, ..."""

    evaluations: dict[str, float]
    """Seconds of one evaluation, by name, and of samples."""

    save: float
    """Seconds that training stands still for one resumable checkpoint; mean."""

    peak_bytes: int
    device: str
    threads: int

    @property
    def update(self) -> float:
        """The median of the seconds of an update."""
        ordered = sorted(self.updates)
        middle = len(ordered) // 2
        return (ordered[middle] + ordered[~middle]) / 2


def time_by_probe(
    config: ExperimentConfig, plan: RunPlan, probe: Probe, saves: Sequence[PlannedSave]
) -> Time:
    """Return the seconds of the whole run, from what single parts of it took.

    Updates count by their operations: shorter rows (``data.context_warmup``) and smaller batches at first
    cost less, and what was measured are updates of the beginning.
    """
    windows = plan.batches.before(len(probe.updates) + 1) - plan.batches.before(1)
    tokens = min(windows / len(probe.updates) * plan.context, plan.corpus.targets)
    like_measured = plan.flops / (plan.flops_per_token(2) * tokens)
    counts = evaluations(config, plan, saves)
    evaluated = {name: counts[name] * seconds for name, seconds in probe.evaluations.items()}
    return Time(
        "probe",
        f"this machine ({probe.device}, {probe.threads} threads)",
        {
            "start_up": probe.start_up,
            "updates": like_measured * probe.update,
            "evaluations": sum(seconds for name, seconds in evaluated.items() if name != "samples"),
            "samples": evaluated.get("samples", 0.0),
            "checkpoints": len(saves) * probe.save,
        },
        {
            "update_seconds": probe.update,
            "updates_measured": len(probe.updates),
            "seconds_an_update_by_phase": probe.phases,
            "evaluation_seconds": probe.evaluations,
            "evaluations": counts,
            "save_seconds": probe.save,
            "tokens_per_second": plan.tokens / max(1e-9, like_measured * probe.update),
        },
    )


def time_by_table(config: ExperimentConfig, plan: RunPlan, device: Device, mfu: float) -> Time:
    """Return the seconds of all updates on ``plan.processes`` devices of the table; an estimate."""
    per_second = device.flops_per_second(config.training.precision) * mfu * plan.processes
    factor = _RECOMPUTED if config.training.gradient_checkpointing else 1.0
    seconds = factor * plan.flops / per_second
    return Time(
        "table",
        f"{plan.processes} x {device.name}",
        {"updates": seconds},
        {
            "peak_flops_per_second": device.flops_per_second(config.training.precision),
            "assumed_mfu": mfu,
            "peak_source": device.source,
            "tokens_per_second": plan.tokens / seconds,
        },
    )


def evaluations(config: ExperimentConfig, plan: RunPlan, saves: Sequence[PlannedSave]) -> dict[str, int]:
    """Return how often each evaluator runs, and samples are written, in the whole run."""
    counts = {
        f"{evaluator.part_name()}-{number}": _times(
            evaluator.every, evaluator.at == "checkpoints", plan, saves
        )
        for number, evaluator in enumerate(config.evaluation)
    }
    if config.samples is not None:
        counts["samples"] = _times(config.samples.every, False, plan, saves, always=True)
    return counts


def _times(
    every: Duration | None,
    at_checkpoints: bool,
    plan: RunPlan,
    saves: Sequence[PlannedSave],
    *,
    always: bool = False,
) -> int:
    if every is not None:
        return len({0, plan.updates, *interval_ends(plan, every)})
    if at_checkpoints:
        return sum(save.is_milestone for save in saves)
    return 2 if always else 1
