"""Headings of ``--help``; every verb is under one of them: ``app.command("name", rich_help_panel=START)``."""

from __future__ import annotations

import inspect

import typer

START = "Start"
DATA = "Data"
RUN = "Run"
SHARE = "Share"
PANELS = (START, DATA, RUN, SHARE)


def arrange(app: typer.Typer) -> None:
    """Put the verbs in the order of their headings, and let help texts flow; examples keep their lines."""
    order = {panel: number for number, panel in enumerate(PANELS)}
    app.registered_commands.sort(key=lambda verb: order.get(str(verb.rich_help_panel), len(PANELS)))
    for typed in (app, *(group.typer_instance for group in app.registered_groups)):
        for verb in typed.registered_commands if typed else ():
            verb.help = _flowing(verb.help or inspect.getdoc(verb.callback) or "")


def _flowing(text: str) -> str:
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith("Example") else " ".join(paragraph.split())
        for paragraph in paragraphs
    )
