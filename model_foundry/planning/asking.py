"""From what a person asks for to the forecast: the order of things, and who is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from model_foundry.config.load import LoadedRecipe
from model_foundry.errors import DataError, RecipeError
from model_foundry.planning.base import base_bytes
from model_foundry.planning.corpus import Text, count_text, estimate_text
from model_foundry.planning.devices import ASSUMED_MFU, find_device
from model_foundry.planning.forecast import Forecast, forecast_run
from model_foundry.planning.placement import Placement
from model_foundry.planning.probe import probe_run
from model_foundry.planning.timing import Price, time_by_probe, time_by_table
from model_foundry.units import Duration


@dataclass(frozen=True)
class Question:
    """What ``model-foundry plan`` is asked."""

    recipe: LoadedRecipe
    named: str
    smoke: bool = False
    allow_custom_code: bool = False
    run_dir: Path | None = None
    with_corpus: bool = True
    corpus_size: str | None = None
    probe_seconds: float | None = None
    """How long the probe's updates take; None for no probe."""

    device: str | None = None
    devices: int = 1
    placement: Placement = "ddp"
    mfu: float | None = None
    price: str | None = None


def answer(question: Question, say: Callable[[str], None], base: Callable[[], int] = base_bytes) -> Forecast:
    """Return the forecast.

    Args:
        question: Recipe and options.
        say: Is told what is going on.
        base: Measures what a process takes beside its tensors, on a CPU.

    Raises:
        ModelFoundryError: When recipe or options cannot be met, or the corpus cannot be prepared.
    """
    config, path = question.recipe.config, question.recipe.path
    device = None if question.device is None else find_device(question.device)
    price = None if question.price is None else Price.parse(question.price)
    folders = list(dict.fromkeys([path.parent, Path.cwd()]))
    run_folder = question.run_dir or Path.cwd() / "runs" / config.run_name
    forecast = forecast_run(
        config,
        _text(question, folders, say),
        folders,
        recipe=question.named,
        run_folder=run_folder,
        devices=question.devices,
        placement=question.placement,
        device=device,
        base=base,
    )
    times = []
    if question.probe_seconds is not None:
        probe = probe_run(
            question.recipe,
            question.probe_seconds,
            say,
            smoke=question.smoke,
            allow_custom_code=question.allow_custom_code,
        )
        times.append(time_by_probe(config, forecast.plan, probe, forecast.saves))
        forecast = replace(forecast, memory=replace(forecast.memory, measured_bytes=probe.peak_bytes))
    if device is not None:
        times.append(time_by_table(config, forecast.plan, device, question.mfu or ASSUMED_MFU))
    return forecast.with_times(config, times, price)


def _text(question: Question, folders: list[Path], say: Callable[[str], None]) -> Text:
    config = question.recipe.config
    if not question.with_corpus:
        return estimate_text(config, folders, _size(question.corpus_size))
    try:
        return count_text(config, folders, say)
    except DataError as error:
        raise DataError(f"{error} To plan without the text: --no-corpus.") from error


def _size(text: str | None) -> Duration | None:
    if text is None:
        return None
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise RecipeError(
            f"--corpus-size {text}: expected a length such as '100M words', '600M bytes' or '130M tokens'."
        ) from error
