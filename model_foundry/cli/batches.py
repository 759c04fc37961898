"""``model-foundry batches``: what a run was shown at which update, and when something was shown."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model_foundry.cli._panels import DATA
from model_foundry.errors import RecipeError

if TYPE_CHECKING:
    from model_foundry.data.pieces import Piece
    from model_foundry.exposure import Exposure, Showing, ShownWindow

_MOST_LINES = 40


def add_to(app: typer.Typer) -> None:
    """Give ``app`` the verb."""

    @app.command("batches", rich_help_panel=DATA)
    def batches(
        run: Annotated[Path, typer.Argument(help="The folder of a run.")],
        update: Annotated[
            int | None,
            typer.Option(
                help="Show the windows of update N: the one that brought the model from N - 1 updates to N, "
                "numbered as in metrics.jsonl.",
            ),
        ] = None,
        rank: Annotated[
            int | None,
            typer.Option(help="With --update: only what this process was dealt, of those in plan.json."),
        ] = None,
        document: Annotated[
            str | None,
            typer.Option(
                metavar="[SOURCE:]D",
                help="Show the updates that hold document D of a source (from 0 on, in the text's order).",
            ),
        ] = None,
        text: Annotated[
            str | None,
            typer.Option(
                help="Show where this text stands in the training text, and the updates that hold it. The "
                "prepared tokens are decoded and searched from end to end, so the time grows with the corpus."
            ),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
        allow_custom_code: Annotated[
            bool, typer.Option("--allow-custom-code", help="Let the recipe import your own modules.")
        ] = False,
    ) -> None:
        """Show what a run was shown: computed from its folder, not logged; no model is loaded.

        Example: model-foundry batches runs/demo --update 100
        """
        asked = [name for name, value in _named(update, document, text).items() if value is not None]
        if len(asked) != 1:
            found = " and ".join(asked) or "none of them"
            raise RecipeError(f"batches: expected one of --update, --document and --text, found {found}.")
        if rank is not None and update is None:
            raise RecipeError("--rank: expected beside --update, whose windows are dealt to processes.")
        from model_foundry.exposure import open_exposure

        exposure = open_exposure(run, allow_custom_code=allow_custom_code)
        if update is not None:
            answer, lines = _of_update(exposure, update, rank)
        elif document is not None:
            answer, lines = _of_document(exposure, document)
        else:
            assert text is not None
            answer, lines = _of_text(exposure, text)
        answer = {"run": str(run), **answer}
        typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else "\n".join(lines))


def _named(update: int | None, document: str | None, text: str | None) -> dict[str, Any]:
    return {"--update": update, "--document": document, "--text": text}


def _of_update(exposure: Exposure, update: int, rank: int | None) -> tuple[dict[str, Any], list[str]]:
    windows, plan = exposure.windows_of(update, rank), exposure.plan
    state = "" if update <= exposure.updates_done else " (to come)"
    dealt = f" of rank {rank}" if rank is not None else ""
    lines = [
        f"update {update} of {plan.updates}{state}: {len(windows)} windows{dealt} of {plan.context} tokens"
        f"{_as_rows(plan.context, exposure.row_length(update))}"
    ]
    for window in windows:
        lines += _window_lines(window)
    answer = {
        "update": update,
        "updates": plan.updates,
        "updates_done": exposure.updates_done,
        "processes": plan.processes,
        "micro_batch_size": plan.micro_batch_size,
        "row_length": exposure.row_length(update),
        "windows": [asdict(window) for window in windows],
    }
    return answer, lines


def _as_rows(context: int, length: int) -> str:
    return "" if length == context else f", each shown as {context // length} rows of {length}"


def _window_lines(window: ShownWindow) -> list[str]:
    start, stop = window.tokens
    return [
        "",
        f"window {window.window} of {window.source} · tokens {start}-{stop - 1} · epoch {window.epoch} · "
        f"rank {window.rank}, micro-batch {window.micro_batch}",
        *(f"  {_described(piece)}" for piece in window.documents),
        *(f"  | {line}" for line in window.text.splitlines()),
    ]


def _of_document(exposure: Exposure, asked: str) -> tuple[dict[str, Any], list[str]]:
    name, colon, digits = asked.rpartition(":")
    if not digits.isdecimal():
        raise RecipeError(f"--document {asked}: expected a number, or SOURCE:NUMBER.")
    source, piece = exposure.find_document(int(digits), name if colon else None)
    answer: dict[str, Any] = {"source": source, "document": int(digits), **_done(exposure)}
    if piece is None:
        held_out = exposure.is_held_out(source, int(digits))
        why = "is held out for validation" if held_out else "has no text"
        return {**answer, "held_out": held_out, "shown": []}, [
            f"document {digits} of {source} {why}: no update shows it."
        ]
    showings = exposure.showings(source, piece)
    lines = [f"{source}: {_described(piece)}", *_showing_lines(exposure, showings)]
    return {**answer, "held_out": False, **asdict(piece), "shown": _shown(showings)}, lines


def _of_text(exposure: Exposure, text: str) -> tuple[dict[str, Any], list[str]]:
    from model_foundry.exposure import MOST_PLACES

    if not text:
        raise RecipeError("--text: expected some text, found none.")
    found = list(islice(exposure.find_text(text), MOST_PLACES + 1))
    is_complete = len(found) <= MOST_PLACES
    places, lines = [], []
    for source, piece in found[:MOST_PLACES]:
        showings = exposure.showings(source, piece)
        places.append({"source": source, **asdict(piece), "shown": _shown(showings)})
        lines += [f"{source}: {_described(piece)}", *_showing_lines(exposure, showings)]
    head = f"found {len(places)} times in the training text:" if places else "not found in the training text."
    if not is_complete:
        head = f"found more than {MOST_PLACES} times in the training text; the first:"
    return {"text": text, **_done(exposure), "is_complete": is_complete, "places": places}, [head, *lines]


def _done(exposure: Exposure) -> dict[str, Any]:
    return {"updates": exposure.plan.updates, "updates_done": exposure.updates_done}


def _described(piece: Piece) -> str:
    first, after = piece.tokens
    return (
        f"document {piece.document} ({piece.input}, number {piece.number_in_input} in it), "
        f"tokens {first}-{after - 1} of {piece.document_tokens}"
    )


def _shown(showings: list[Showing]) -> list[dict[str, Any]]:
    return [asdict(showing) for showing in showings]


def _showing_lines(exposure: Exposure, showings: list[Showing]) -> list[str]:
    if not showings:
        return ["  no update of the run shows it"]
    lines = [
        f"  update {showing.update} · epoch {showing.epoch} · window {showing.window}"
        + ("" if showing.is_whole else " · in part")
        + ("" if showing.is_applied else " · passed over, not applied")
        + ("" if showing.update <= exposure.updates_done else " · to come")
        for showing in showings[:_MOST_LINES]
    ]
    left = len(showings) - len(lines)
    return [*lines, f"  and {left} more (--json shows all)"] if left else lines
