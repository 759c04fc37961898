"""A comparison of runs as one HTML page, with the curves of all of them on one axis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from model_foundry.manifest import write_atomically
from model_foundry.report.comparison import Comparison
from model_foundry.report.facts import RunFacts, measures_of
from model_foundry.report.page import fill
from model_foundry.report.plots import Plot, axes_of, plot
from model_foundry.report.series import Series, began_at, smoothed, with_hours


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write the page to ``out`` and return where it is."""
    plots = list(_plots(comparison.runs))
    title = " · ".join(run.name for run in comparison.runs)
    page = fill("compare.html.jinja", title=title, comparison=comparison, plots=plots, axes=axes_of(plots))
    write_atomically(out, page)
    return out


def _plots(runs: list[RunFacts]) -> Iterator[Plot]:
    updates = [with_hours(run.updates, began_at(run.updates)) for run in runs]
    names = [run.name for run in runs]
    for title, unit, key in (
        ("Loss, smoothed", "nats a target", "loss"),
        ("Bits per byte, smoothed", "bits", "bits_per_byte"),
    ):
        pairs = zip(names, updates, strict=True)
        yield from plot(title, unit, [Series(name, smoothed(lines, key), key) for name, lines in pairs])
    keys = dict.fromkeys(key for run in runs for line in run.evaluations for key in measures_of(line))
    for key in keys:
        series = [
            Series(run.name, with_hours(run.evaluations, began_at(run.updates)), key, is_sparse=True)
            for run in runs
        ]
        yield from plot(key.replace("_", " "), "", series, is_log=key.endswith("perplexity"))
