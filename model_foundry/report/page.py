"""A run's folder becomes one self-contained HTML page: no network, no script, light and dark, printable."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Any

from model_foundry.errors import RecipeError
from model_foundry.manifest import write_atomically
from model_foundry.report.corpus_text import text_of
from model_foundry.report.facts import Line, RunFacts, read_run
from model_foundry.report.figures import FOLDER, Format, require_matplotlib, write_figures
from model_foundry.report.groups import group_curves
from model_foundry.report.plots import axes_of, plots_of
from model_foundry.report.series import X_AXES
from model_foundry.report.svg import short

REPORT = "report.html"
_FORMATS = ("html", "png", "pdf")
_MOST_SAMPLES = 60
_ROUTINE = {"checkpoint", "save", "retention", "mirrored", "start", "finish"}


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the page of the run in ``run``, by default into its folder, and return where it is.

    Raises:
        RunDirectoryError: When no run is there.
    """
    target = out if out is not None else run / REPORT
    write_atomically(target, render(read_run(run)))
    return target


def write_reports(run: Path, out: Path | None = None, *, formats: str, axis: str) -> list[Path]:
    """Write the page of a run, its figures as files, or both, and return what was written.

    Args:
        run: The run's folder.
        out: The page, beside which the figures lie in ``plots/``; in the run's folder where not given.
        formats: ``html``, ``png`` and ``pdf``, with commas between.
        axis: The clock that figures are drawn over; the page has all of them.

    Raises:
        RecipeError: When a format or the axis is none of those, or matplotlib is needed and not installed.
        RunDirectoryError: When no run is there.
    """
    asked = [name.strip() for name in formats.split(",")]
    for name, known, option in (*((name, _FORMATS, "format") for name in asked), (axis, X_AXES, "axis")):
        if name not in known:
            raise RecipeError(f"--{option} {name!r} is none. Expected one of: {', '.join(known)}.")
    figures: list[Format] = [kind for kind in ("png", "pdf") if kind in asked]
    if figures:
        require_matplotlib(figures)
    facts, page = read_run(run), out if out is not None else run / REPORT
    written = [write_report(run, page)] if "html" in asked else []
    return [*written, *(write_figures(facts, figures, page.parent / FOLDER, axis=axis) if figures else ())]


def render(facts: RunFacts) -> str:
    """Return the page as HTML."""
    plots = plots_of(facts)
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
        text=text_of(facts.corpus, facts.statistics),
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
    if best := facts.best:
        cards.append((f"best by {best['by']}", f"{best['checkpoint']} ({best['value']:.4f})"))
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
    if whole_hours:
        return f"{whole_hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


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
    return ", ".join(
        f"{len(value)} {key}, listed in events.jsonl" if isinstance(value, list) else f"{key}: {value}"
        for key, value in told.items()
    )
