"""Several runs held against each other: what differs between them, and whether that made a difference."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from model_foundry.errors import RunDirectoryError
from model_foundry.report.differences import differences, same_but_for_seeds
from model_foundry.report.facts import Line, RunFacts, read_run
from model_foundry.report.paired import Delta, paired_delta, read_items

_TOKENIZER = "tokenizer_sha256"
_A_TOKEN = ("loss", "perplexity")
"""Measures that divide by the number of tokens."""


@dataclass(frozen=True)
class Row:
    """One measure of one suite, at the last checkpoint of each run that has it."""

    suite: str
    level: str
    group: str
    measure: str
    values: list[float | None]
    updates: list[int | None]
    delta: Delta | None = None
    """Of the second run to the first, where there are just two and their items are the same."""

    note: str = ""
    """Why no difference is stated."""

    @property
    def label(self) -> str:
        """Suite, group and measure."""
        return " ".join(part for part in (self.suite, self.group, self.measure) if part)


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seeds alone."""

    name: str
    members: list[int]


@dataclass(frozen=True)
class Comparison:
    """All that is known of several runs together."""

    runs: list[RunFacts]
    differs: list[tuple[str, list[str]]]
    """What is not the same in all of them, and each one's value."""

    groups: list[Group]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)

    def mean_and_deviation(self, row: Row, group: Group) -> tuple[float, float | None, int]:
        """Return mean, sample standard deviation (None for one run) and number of the group's values."""
        values = [value for index in group.members if (value := row.values[index]) is not None]
        if not values:
            return math.nan, None, 0
        return fmean(values), stdev(values) if len(values) > 1 else None, len(values)


def compare_runs(paths: Sequence[Path], *, metric: str | None = None, seed: int = 1) -> Comparison:
    """Return how the runs in ``paths`` differ.

    Args:
        paths: Folders of at least two runs.
        metric: Only measures whose label holds this text; all of level ``all`` where not given.
        seed: Of the bootstrap.

    Raises:
        RunDirectoryError: When one is no run, or there are fewer than two.
    """
    if len(paths) < 2:
        raise RunDirectoryError(f"compare: found {len(paths)} run, expected two or more.", reason="recipe")
    runs = [read_run(path) for path in paths]
    groups = [
        Group(runs[members[0]].name if len(members) == 1 else _common_name(runs, members), members)
        for members in same_but_for_seeds(runs)
    ]
    rows, notes = [], []
    for row in _rows(runs):
        if (metric is None and row.level != "all") or (metric is not None and metric not in row.label):
            continue
        checked = _with_delta(row, runs, seed)
        rows.append(checked)
        if checked.note:
            notes.append(f"{row.label}: {checked.note}")
    return Comparison(runs, differences(runs), groups, rows, notes)


def _rows(runs: Sequence[RunFacts]) -> Iterator[Row]:
    """Yield every measure that any run has, in the order of first sight."""
    found: dict[tuple[str, str, str, str], dict[int, Line]] = {}
    for index, run in enumerate(runs):
        for line in _last_rows(run.path / "evaluations"):
            key = (line["suite"], line["level"], line["group"], line["measure"])
            found.setdefault(key, {})[index] = line
    for (suite, level, group, measure), lines in found.items():
        values = [lines[index]["value"] if index in lines else None for index in range(len(runs))]
        updates = [lines[index]["update"] if index in lines else None for index in range(len(runs))]
        yield Row(suite, level, group or "", measure, values, updates)


def _last_rows(folder: Path) -> Iterator[Line]:
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else ():
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        last = max((row["update"] for row in rows if row["update"] is not None), default=None)
        yield from (row for row in rows if row["update"] == last)


def _with_delta(row: Row, runs: Sequence[RunFacts], seed: int) -> Row:
    if len(runs) != 2 or None in row.values:
        return row
    items = [
        read_items(
            run.path / "evaluations" / row.suite / f"checkpoint-{update}.parquet", row.level, row.group
        )
        for run, update in zip(runs, row.updates, strict=True)
    ]
    if items[0] is None or items[1] is None:
        return row
    if not items[0].same_items(items[1]):
        note = "made of different items, so the values are shown and no difference is stated"
        return Row(row.suite, row.level, row.group, row.measure, row.values, row.updates, note=note)
    if row.measure in _A_TOKEN and runs[0].corpus.get(_TOKENIZER) != runs[1].corpus.get(_TOKENIZER):
        note = "counted a token, and their tokenizers cut tokens differently: compare bits_per_byte instead"
        return Row(row.suite, row.level, row.group, row.measure, row.values, row.updates, note=note)
    delta = paired_delta(row.measure, items[0], items[1], seed=seed)
    return Row(row.suite, row.level, row.group, row.measure, row.values, row.updates, delta)


def _common_name(runs: Sequence[RunFacts], members: Sequence[int]) -> str:
    names = [runs[index].name for index in members]
    common = names[0]
    while not all(name.startswith(common) for name in names):
        common = common[:-1]
    return f"{common.rstrip('-_.') or names[0]} ({len(names)} seeds)"


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain values."""
    return {
        "runs": [str(run.path) for run in comparison.runs],
        "differs": {key: values for key, values in comparison.differs},
        "groups": [{"name": group.name, "runs": group.members} for group in comparison.groups],
        "measures": [
            {
                "suite": row.suite,
                "level": row.level,
                "group": row.group,
                "measure": row.measure,
                "values": row.values,
                "updates": row.updates,
                "delta": None if row.delta is None else vars(row.delta),
                "note": row.note,
            }
            for row in comparison.rows
        ],
    }
