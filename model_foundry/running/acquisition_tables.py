"""Learning curves of a run's evaluations, unit by unit, and the age of acquisition of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from model_foundry.errors import DataError, RecipeError
from model_foundry.evaluation._acquisition import Acquisition, Better, acquire
from model_foundry.running.evaluation_files import EvaluationFiles, read_parquet

By = Literal["item", "word"]

_NUMBERS = ("word_number", "token_number", "region_number")
_TEXTS = ("word", "token", "text")
_ACCURACY_CHANCE = 0.5  # of two alternatives


@dataclass
class Curve:
    """What was measured of one unit: a word, an item, a paradigm."""

    unit: dict[str, Any]
    """Its name, in columns."""

    updates: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Curves:
    """All units of a suite."""

    curves: list[Curve]
    points: dict[int, dict[str, Any]]
    """Checkpoint, tokens and words of each update."""

    chance: float
    better: Better

    def acquired(self) -> list[tuple[Curve, Acquisition]]:
        """Return what each curve says."""
        return [
            (
                curve,
                acquire(
                    np.array(curve.updates, dtype=np.float64),
                    np.array(curve.values, dtype=np.float64),
                    chance=self.chance,
                    better=self.better,
                ),
            )
            for curve in self.curves
        ]


def surprisal_curves(run: Path, suite: str, *, by: By, value: str) -> Curves:
    """Return the mean bits of each item or word at each checkpoint.

    Args:
        run: Its folder.
        suite: The name of a surprisal suite among its evaluations.
        by: ``item``: each word, token or region where it stands; ``word``: all places of one spelling.
        value: ``surprisal_bits`` or ``corrected_bits``.

    Raises:
        DataError: When there are no such results.
        RecipeError: When they lack what is asked for.
    """
    results = _results(run, suite)
    curves: dict[tuple[Any, ...], Curve] = {}
    for result in results:
        items = read_parquet(run / "evaluations" / suite / f"{result['checkpoint']}.parquet")
        if value not in items:
            raise RecipeError(
                f"--value {value}: {suite} has no such column; it has {', '.join(items)}. Name one in bits, "
                "or measures of a level with --level."
            )
        _add_items(curves, items, result["update"], by, value)
    size = results[-1]["facts"].get("vocabulary_size")
    if not isinstance(size, int):
        raise DataError(
            f"{run / 'evaluations' / suite}: does not say the size of the vocabulary. Measure again."
        )
    return Curves(list(curves.values()), _points(results), math.log2(size), "lower")


def measure_curves(run: Path, suite: str, *, level: str, measure: str) -> Curves:
    """Return a measure of each group of a level, such as the accuracy of each paradigm, at each checkpoint.

    Raises:
        DataError: When there are no such results.
        RecipeError: When they lack what is asked for, or chance is not known for the measure.
    """
    if not measure.startswith("accuracy"):
        raise RecipeError(f"--measure {measure}: chance is known for accuracy alone. Name a measure of it.")
    results = _results(run, suite)
    curves: dict[tuple[Any, ...], Curve] = {}
    for result in results:
        for row in result["measures"]:
            if row["level"] == level and row["name"] == measure and row["value"] is not None:
                unit = {"level": level, "group": row["group"]}
                curve = curves.setdefault((row["group"],), Curve(unit))
                curve.updates.append(result["update"])
                curve.values.append(row["value"])
    if not curves:
        levels = sorted({f"{row['level']} {row['name']}" for row in results[-1]["measures"]})
        raise RecipeError(
            f"--level {level}: {suite} has no {measure} of that level; it has {', '.join(levels)}."
        )
    return Curves(list(curves.values()), _points(results), _ACCURACY_CHANCE, "higher")


def _results(run: Path, suite: str) -> list[dict[str, Any]]:
    """Return the results of a suite by update; those made with other settings than the last are left out."""
    files, folder = EvaluationFiles(run / "evaluations"), run / "evaluations" / suite
    found = [files.read(suite, path.stem) for path in folder.glob("*.json")]
    results = [result for result in found if result is not None and result["update"] is not None]
    if not results:
        suites = sorted(path.name for path in (run / "evaluations").glob("*") if path.is_dir())
        raise DataError(
            f"{folder}: holds no results over checkpoints. The run has {', '.join(suites) or 'none at all'}. "
            "Measure with model-foundry surprisal RUN FILE --checkpoints all, or in the recipe (evaluation)."
        )
    results.sort(key=lambda result: int(result["update"]))
    return [result for result in results if result["evaluator"] == results[-1]["evaluator"]]


def _points(results: Sequence[dict[str, Any]]) -> dict[int, dict[str, Any]]:
    names = ("checkpoint", "tokens", "words")
    return {result["update"]: {name: result[name] for name in names} for result in results}


def _add_items(
    curves: dict[tuple[Any, ...], Curve], items: dict[str, list[Any]], update: int, by: By, value: str
) -> None:
    text = next(name for name in _TEXTS if name in items)
    number = next(name for name in _NUMBERS if name in items)
    names = (text,) if by == "word" else ("item", "condition", "line", number, text)
    sums: dict[tuple[Any, ...], list[float]] = {}
    for key, bits in zip(zip(*(items[name] for name in names), strict=True), items[value], strict=True):
        if bits is not None:
            sums.setdefault(key, []).append(bits)
    for key, values in sums.items():
        curve = curves.setdefault(key, Curve(dict(zip(names, key, strict=True))))
        curve.updates.append(update)
        curve.values.append(math.fsum(values) / len(values))
