"""``model-foundry watch``: a run as it goes on, from its files; works over ssh and for finished runs."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._json import to_json
from model_foundry.cli._panels import RUN

if TYPE_CHECKING:
    from model_foundry.report.facts import RunFacts

_BARS = "▁▂▃▄▅▆▇█"
_WIDTH = 60
_RECENT = 5


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("watch", rich_help_panel=RUN)
    def watch(
        run: Annotated[Path, typer.Argument(help="A run's folder.")],
        every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
        once: Annotated[bool, typer.Option("--once", help="Look once and leave.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Look once and print one JSON object.")] = False,
    ) -> None:
        """Watch a run: progress, losses, speed, the latest events; ends when the run does.

        On a terminal the view is redrawn; elsewhere it is printed once.

        Example: model-foundry watch runs/demo
        """
        from model_foundry.report.facts import read_run

        if as_json:
            typer.echo(to_json(_facts(read_run(run))))
            return
        if once or not sys.stdout.isatty():
            typer.echo(view(read_run(run)))
            return
        from rich.live import Live
        from rich.text import Text

        with Live(Text(view(read_run(run))), auto_refresh=False) as live:
            while (facts := read_run(run)).status.get("state") == "running":
                live.update(Text(view(facts)), refresh=True)
                time.sleep(every)
            live.update(Text(view(facts)), refresh=True)


def _facts(facts: RunFacts) -> dict[str, Any]:
    """Return what the view shows, whole: status, plan, the last update and evaluation, recent events."""
    return {
        "run": facts.name,
        "status": facts.status,
        "updates": facts.plan.get("updates"),
        "last_update": facts.updates[-1] if facts.updates else None,
        "last_evaluation": facts.evaluations[-1] if facts.evaluations else None,
        "events": facts.events[-_RECENT:],
    }


def view(facts: RunFacts) -> str:
    """Return the run as a few lines of text."""
    from model_foundry.report.svg import short

    last = facts.updates[-1] if facts.updates else {}
    total, done = facts.plan.get("updates") or 0, last.get("update", 0)
    filled = round(_WIDTH * done / total) if total else 0
    lines = [
        f"{facts.name} · {facts.status.get('state', 'unknown')}",
        f"{'█' * filled}{'░' * (_WIDTH - filled)} {done:,}/{total:,} updates",
    ]
    if last:
        shown = (
            "tokens",
            "words",
            "loss",
            "bits_per_byte",
            "learning_rate",
            "grad_norm",
            "tokens_per_second",
        )
        lines.append("  ".join(f"{key.replace('_', ' ')} {short(last[key])}" for key in shown if key in last))
        lines.append(f"loss {sparkline([line['loss'] for line in facts.updates])}")
    if facts.evaluations:
        newest = {key: value for line in facts.evaluations for key, value in line.items() if "/" in key}
        lines.append("  ".join(f"{key} {value:.4f}" for key, value in list(newest.items())[:6]))
    lines += [_event(event) for event in facts.events[-_RECENT:]]
    if facts.status.get("message"):
        lines.append(str(facts.status["message"]))
    return "\n".join(lines)


def sparkline(values: list[float], width: int = _WIDTH) -> str:
    """Return means of the values in ``width`` stretches as bars of eight heights."""
    finite = [value for value in values if value == value and abs(value) != float("inf")]
    if not finite:
        return ""
    width = min(width, len(finite))
    cuts = [len(finite) * number // width for number in range(width + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in pairwise(cuts)]
    low, high = min(means), max(means)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((mean - low) / step)] for mean in means)


def _event(event: dict[str, Any]) -> str:
    facts = [
        f"{key} {value}" for key, value in event.items() if key in ("update", "name", "message", "reason")
    ]
    return f"{event.get('time', '')} {event.get('event', '')} {' '.join(facts)}".rstrip()
