"""Surprisal over the checkpoints of a run: measured, kept with its evaluations, and given as one table."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from model_foundry.evaluation import Evaluator, Outcome, run_suite
from model_foundry.running.evaluation_files import EvaluationFiles, Point
from model_foundry.running.subjects import FoundModel, open_subject

if TYPE_CHECKING:
    from model_foundry.evaluation import Suite

_NOT_AVAILABLE = "NA"
"""How R writes a missing value; pandas reads it as one, too."""


def measure_models(
    evaluator: Evaluator,
    models: Iterable[FoundModel],
    *,
    keep_in: Path | None,
    say: Callable[[str], None],
) -> Iterator[tuple[Point, Outcome]]:
    """Yield what each model gives, one model in memory at a time.

    Args:
        evaluator: What to measure; its paths are relative to the working folder.
        models: Of one tokenizer.
        keep_in: The run's folder of evaluations, or None to leave nothing.
        say: Told each model before it is measured.
    """
    suite: Suite | None = None
    for model in models:
        say(f"{model.point.name} ...")
        began = time.monotonic()
        subject = open_subject(model.folder)
        if suite is None:
            suite = evaluator.open(subject, [Path.cwd()])
        outcome = run_suite(suite, subject)
        if keep_in is not None:
            seconds = time.monotonic() - began
            EvaluationFiles(keep_in).write(
                evaluator, model.point, outcome, origin="evaluate", seconds=seconds
            )
        yield model.point, outcome


def write_items(file: IO[str], results: Iterable[tuple[Point, Outcome]]) -> list[tuple[Point, Outcome]]:
    """Write the items of all models as CSV with a header; return what was written.

    A missing value is NA, a truth is TRUE or FALSE, and text is quoted where it must be.
    """
    writer = csv.writer(file, lineterminator="\n")
    written: list[tuple[Point, Outcome]] = []
    for point, outcome in results:
        columns = list(outcome.items)
        if not written:
            writer.writerow(["model", "update", "training_tokens", "training_words", *columns])
        place = [point.name, point.update, point.tokens, point.words]
        for row in zip(*outcome.items.values(), strict=True):
            writer.writerow([_cell(value) for value in [*place, *row]])
        written.append((point, outcome))
    return written


def item_rows(point: Point, outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield the items of one model as the table's rows, by column; what is missing is None."""
    place = {"model": point.name, "update": point.update}
    place |= {"training_tokens": point.tokens, "training_words": point.words}
    for row in zip(*outcome.items.values(), strict=True):
        yield {**place, **dict(zip(outcome.items, row, strict=True))}


def _cell(value: Any) -> Any:
    if value is None:
        return _NOT_AVAILABLE
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return value
