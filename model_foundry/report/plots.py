"""Which figures the page of a run has: their lines over each clock, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model_foundry.report.facts import Line, RunFacts, measures_of
from model_foundry.report.series import X_AXES, Series, began_at, smoothed, thinned, with_hours
from model_foundry.report.svg import draw

_MOST_ROWS = 120


@dataclass(frozen=True)
class Plot:
    """One figure of the page: the same lines over each clock, and the numbers behind them."""

    title: str
    unit: str
    legend: list[str]
    drawings: list[str]
    header: list[str]
    rows: list[list[str]]
    first_colour: int
    series: list[Series]
    is_log: bool = False
    """Whether values are drawn by their powers of ten."""


def plots_of(facts: RunFacts) -> list[Plot]:
    """Return the figures of a run: training first, then a figure an evaluator and measure."""
    began = began_at(facts.updates)
    updates, evaluations = with_hours(facts.updates, began), with_hours(facts.evaluations, began)
    return [*_training_plots(updates, evaluations), *_evaluation_plots(evaluations)]


def _training_plots(updates: list[Line], evaluations: list[Line]) -> Iterator[Plot]:
    held_out = [line for line in evaluations if "perplexity/loss" in line]
    yield from plot(
        "Loss",
        "nats a target",
        [
            Series("each update", updates, "loss", is_faint=True),
            Series("smoothed", smoothed(updates, "loss"), "loss"),
            Series("held out", held_out, "perplexity/loss", is_sparse=True),
        ],
    )
    yield from plot(
        "Bits per byte",
        "bits",
        [
            Series("training, smoothed", smoothed(updates, "bits_per_byte"), "bits_per_byte"),
            Series("held out", held_out, "perplexity/bits_per_byte", is_sparse=True),
        ],
    )
    for title, unit, key in (
        ("Learning rate", "", "learning_rate"),
        ("Gradient norm", "before clipping", "grad_norm"),
        ("Throughput", "tokens a second", "tokens_per_second"),
        ("Share of the devices' peak (MFU)", "", "mfu"),
        ("Peak memory", "bytes", "peak_memory_bytes"),
    ):
        yield from plot(title, unit, [Series(key.replace("_", " "), updates, key)])


def _evaluation_plots(evaluations: list[Line]) -> Iterator[Plot]:
    """Yield a plot an evaluator and measure: its whole first, then its parts (sources, phenomena)."""
    names: dict[tuple[str, str], list[str]] = {}
    for line in evaluations:
        for key in measures_of(line):
            evaluator, *_, measure = key.split("/")
            keys = names.setdefault((evaluator, measure), [])
            if key not in keys:
                keys.append(key)
    for (evaluator, measure), keys in names.items():
        if evaluator == "perplexity" and len(keys) == 1 and measure in ("loss", "bits_per_byte"):
            continue  # drawn beside the training's own
        lines = [line for line in evaluations if any(key in line for key in keys)]
        series = [
            Series(key.removeprefix(f"{evaluator}/"), lines, key, is_sparse=True)
            for key in sorted(keys, key=lambda key: key.count("/"))
        ]
        title = f"{evaluator}: {measure}".replace("_", " ")
        yield from plot(title, "", series, is_log=measure.endswith("perplexity"))


def plot(title: str, unit: str, series: list[Series], *, is_log: bool = False) -> Iterator[Plot]:
    """Yield the figure of some series, or nothing where there is nothing to draw."""
    shown = [item for item in series if any(item.points(axis) for axis in X_AXES)]
    first_colour = 0 if any(item.is_faint for item in shown) else 1
    drawings = [
        draw(shown, axis, label, title, first_colour, is_log=is_log) for axis, label in X_AXES.items()
    ]
    if any(drawings):
        header, rows = _table(shown)
        legend = [item.name for item in shown]
        drawn = [text for text in drawings if text]
        yield Plot(title, unit, legend, drawn, header, rows, first_colour, shown, is_log)


def _table(series: Sequence[Series]) -> tuple[list[str], list[list[str]]]:
    found: dict[float, dict[str, float]] = {}
    for item in series:
        for x, y in thinned(item.points("update"), _MOST_ROWS):
            found.setdefault(x, {})[item.name] = y
    names = [item.name for item in series]
    rows = [
        [f"{x:.0f}", *(f"{values[name]:.6g}" if name in values else "" for name in names)]
        for x, values in sorted(found.items())
    ]
    return ["update", *names], rows


def axes_of(plots: Sequence[Plot]) -> dict[str, str]:
    """Return the clocks that any of the plots is drawn over, with what they count."""
    return {
        axis: unit
        for axis, unit in X_AXES.items()
        if any(f'class="plot x-{axis}"' in drawing for figure in plots for drawing in figure.drawings)
    }
