"""Which part of which document lies in a window, and which file it came from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from model_foundry.data.windows import Windows


@dataclass(frozen=True)
class Piece:
    """The part of a document that lies in a window, or was asked for."""

    document: int
    """Its number in the source, from 0 on, in the order of the text, held-out and blank documents counted."""

    input: str
    """The file that it came from."""

    number_in_input: int
    """Its number in that file, from 0 on."""

    tokens: tuple[int, int]
    """First token, counted in the document, and the one after the last."""

    document_tokens: int
    """Tokens of the whole document, with the one that ends it."""


def seen(windows: Windows, window: int) -> tuple[int, int]:
    """Return the tokens of a window that are input or counted target: what ``isolate`` masks is neither."""
    start, stop = windows.span(window)
    is_masked = (
        windows.shared and windows.documents == "isolate" and stop - 1 in windows.boundaries(start, stop)
    )
    return start, stop - int(is_masked)


def piece_of(windows: Windows, index: int, start: int, stop: int) -> Piece:
    """Return the part of document ``index`` (of its side) that lies in tokens ``start`` to ``stop``."""
    stream = windows.stream
    first, after = stream.span_of(index)
    number = int(stream.document_ids[index])
    origin = stream.inputs[bisect_right(stream.inputs, number, key=lambda item: item["first_document"]) - 1]
    return Piece(
        document=number,
        input=origin["name"],
        number_in_input=number - origin["first_document"],
        tokens=(max(start, first) - first, min(stop, after) - first),
        document_tokens=after - first,
    )
