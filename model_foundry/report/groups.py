"""Curves of single paradigms, phenomena and sources: one small line each, from the tidy tables of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_foundry.report.series import Point
from model_foundry.report.svg import spark


@dataclass(frozen=True)
class GroupCurve:
    """One group of a suite over the checkpoints of a run."""

    group: str
    first: float
    last: float
    drawing: str


def group_curves(evaluations: Path) -> dict[str, list[GroupCurve]]:
    """Return the curves by suite, level and measure; groups that were measured once have no line."""
    found: dict[str, dict[str, list[Point]]] = {}
    for path in sorted(evaluations.glob("*.json")) if evaluations.is_dir() else ():
        for row in _rows(path):
            if row["level"] == "all" or row["update"] is None or row["value"] is None:
                continue
            title = f"{row['suite']}: {row['measure']} by {row['level']}".replace("_", " ")
            points = found.setdefault(title, {}).setdefault(row["group"], [])
            points.append((float(row["update"]), float(row["value"])))
    return {
        title: [_curve(group, sorted(points)) for group, points in groups.items()]
        for title, groups in found.items()
    }


def _curve(group: str, points: list[Point]) -> GroupCurve:
    return GroupCurve(group, points[0][1], points[-1][1], spark(points, group))


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [row for row in rows if {"suite", "level", "group", "measure", "update", "value"} <= set(row)]
