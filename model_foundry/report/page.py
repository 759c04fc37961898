"""A run's folder becomes one self-contained HTML page: no network, no script, light and dark, printable."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from model_foundry.manifest import write_atomically
from model_foundry.report.facts import Line, RunFacts, measures_of, read_run
from model_foundry.report.groups import group_curves
from model_foundry.report.series import X_AXES, Series, began_at, smoothed, thinned, with_hours
from model_foundry.report.svg import draw, short

REPORT = "report.html"
_MOST_ROWS = 120
_MOST_SAMPLES = 60
_ROUTINE = {"checkpoint", "save", "start", "finish"}


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


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page of the run in ``run``, by default into its folder, and return where it is.

    Raises:
        RunDirectoryError: When no run is there.
    """
    target = out if out is not None else run / REPORT
    write_atomically(target, render(read_run(run)))
    return target


def render(facts: RunFacts) -> str:
    """Return the page as HTML."""
    began = began_at(facts.updates)
    updates, evaluations = with_hours(facts.updates, began), with_hours(facts.evaluations, began)
    plots = [*_training_plots(updates, evaluations), *_evaluation_plots(evaluations)]
    return fill(
        "page.html.jinja",
        title=facts.name,
        facts=facts,
        state=str(facts.status.get("state", "unknown")),
        cards=_cards(facts),
        axes=axes_of(plots),
        plots=plots,
        groups=group_curves(facts.path / "evaluations"),
        incidents=[event for event in facts.events if event.get("event") not in _ROUTINE],
        samples=_samples(facts.samples),
        sources=_sources(facts.corpus),
        environment=_environment(facts.environment),
        megabytes=lambda size: f"{size / 1e6:,.1f}",
        others=_others,
    )


def fill(template: str, **values: Any) -> str:
    """Return a template of this folder with its values; text stays text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


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
        yield from plot(f"{evaluator}: {measure}".replace("_", " "), "", series)


def plot(title: str, unit: str, series: list[Series]) -> Iterator[Plot]:
    """Yield the figure of some series, or nothing where there is nothing to draw."""
    shown = [item for item in series if any(item.points(axis) for axis in X_AXES)]
    first_colour = 0 if any(item.is_faint for item in shown) else 1
    drawings = [draw(shown, axis, label, title, first_colour) for axis, label in X_AXES.items()]
    if any(drawings):
        header, rows = _table(shown)
        legend = [item.name for item in shown]
        yield Plot(title, unit, legend, [text for text in drawings if text], header, rows, first_colour)


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


def _cards(facts: RunFacts) -> list[tuple[str, str]]:
    plan, status = facts.plan, facts.status
    cards: list[tuple[str, str]] = []
    model = plan.get("model", {})
    if "parameters" in model:
        cards.append(("parameters", f"{model['parameters']:,}"))
    if facts.updates:
        last = facts.updates[-1]
        done = f"{last['update']:,}" + (f" of {plan['updates']:,}" if "updates" in plan else "")
        cards.append(("updates", done))
        cards += [(key, short(last[key])) for key in ("tokens", "words") if last.get(key)]
        cards.append(("last loss", f"{last['loss']:.4f}"))
    for key, label in (
        ("perplexity/loss", "held-out loss"),
        ("perplexity/bits_per_byte", "held-out bits per byte"),
    ):
        values = [line[key] for line in facts.evaluations if isinstance(line.get(key), int | float)]
        if values:
            cards.append((label, f"{values[-1]:.4f}"))
    if (hours := _hours(status)) is not None:
        cards.append(("from start to end", _duration(hours)))
    if (rates := [line["tokens_per_second"] for line in facts.updates if "tokens_per_second" in line]) != []:
        cards.append(("tokens a second, median", short(sorted(rates)[len(rates) // 2])))
    return cards


def _hours(status: Line) -> float | None:
    try:
        began, ended = (datetime.fromisoformat(status[key]) for key in ("started_at", "time"))
    except (KeyError, TypeError, ValueError):
        return None
    return (ended - began).total_seconds() / 3600


def _duration(hours: float) -> str:
    seconds = round(hours * 3600)
    whole_hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{whole_hours} h {minutes} min" if whole_hours else f"{minutes} min {seconds} s"


def _samples(samples: list[Line]) -> dict[str, list[Line]]:
    """Return the samples by prompt, evenly thinned so that the page stays small; the last one stays."""
    by_prompt: dict[str, list[Line]] = {}
    for line in samples:
        by_prompt.setdefault(str(line.get("prompt", "")), []).append(line)
    most = max(2, _MOST_SAMPLES // max(1, len(by_prompt)))
    for prompt, lines in by_prompt.items():
        every = math.ceil(len(lines) / most)
        by_prompt[prompt] = lines[::-1][::every][::-1]
    return by_prompt


def _sources(corpus: Line) -> list[Line]:
    found = []
    for source in corpus.get("sources", []):
        for side, counts in source.get("splits", {}).items():
            found.append({"name": source.get("name", ""), "side": side, **counts})
    return found


def _environment(environment: Line) -> list[tuple[str, str]]:
    flat: list[tuple[str, str]] = []
    for key, value in environment.items():
        if isinstance(value, dict):
            flat += [(f"{key}: {name}", str(item)) for name, item in value.items()]
        else:
            flat.append((key, " ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return flat


def _others(event: Line) -> str:
    told: dict[str, Any] = {
        key: value for key, value in event.items() if key not in ("event", "time", "update")
    }
    return ", ".join(f"{key}: {value}" for key, value in told.items())
